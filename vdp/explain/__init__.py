"""What the names mean that vdp prints: drop reasons, configuration errors, exit codes, metrics, counters.

`vdp.explain.catalogue` finds the explanation of a name, for `vdp explain`; docs/drops.md and
docs/errors.md are written from the same texts.  A test holds them to the code: no name is without one.
"""
