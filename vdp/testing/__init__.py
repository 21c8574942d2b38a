"""What vdp ships for tests, its own and plugin authors': builders, the reference engine.

`vdp.testing.builders` makes packet bytes without other packages; `vdp.testing.reference`
is the engine's readable twin, in process and with a stopped clock, on which a plugin can
be tried without privileges.  Nothing in the product imports from here.
"""
