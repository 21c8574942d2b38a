"""The engine's readable twin: what engine.h says, in plain Python, one file a concern.

It is the oracle that the C engine is compared with, and an engine that needs no
privileges for plugin tests.  Names and results are the same; it is some thousand times
slower, runs on the caller's thread, and has memory ports and cells only.
"""

from vdp.testing.reference.engine import ReferenceEngine

__all__ = ["ReferenceEngine"]
