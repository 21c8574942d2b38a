"""Benchmarks of vdp beside its peers, in one run and one topology.

`python -m bench NAME` prints a table, with `--json` an object.  Figures of different
machines, or of different moments on a shared one, do not compare: peers are measured in
turn, round after round, and ratios are taken within a round.
"""
