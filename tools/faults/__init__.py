"""The fault matrix, run: what may go wrong around a dataplane, and what vdp owes then (make faults)."""
