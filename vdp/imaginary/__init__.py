"""Imaginary packets through a running dataplane: what would become of one, and why; nothing changes.

method.py             `trace` of the control socket: from what was asked to what is answered
ends.py               what an expression (vdp.expressions) need not say, because the port does
captured.py           a frame of a capture file
journey.py mirror.py  a packet through traces and programs, cell by cell
layout.py answer.py   which bytes are which header; what `vdp trace --json` prints
"""
