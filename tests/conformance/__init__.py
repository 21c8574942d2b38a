"""What Linux does, what vdp does, and which tests show it: the data and the making of docs/conformance.md."""
