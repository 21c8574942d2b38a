"""What is called beside handlers, of plugins and of vdp itself: timers and upcalls, and how that went.

    datapath.every(seconds, act)     a timer
    datapath.add_cookie(act)         an upcall: it gets copies that programs send up

Their record of failures is that of handlers (vdp.quarantine): who fails repeatedly is not
called for a while (vdp.discipline).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vdp.quarantine import Conduct
from vdp.saying import name_of


@dataclass(slots=True, eq=False)
class Called:
    """One function that is called, and whose it is."""

    kind: Literal["timer", "upcall"]
    act: Callable[..., object]
    owner: str
    #: How often it was called, and how often it raised or took too long.
    times: int = 0
    failures: int = 0
    last_error: str = ""
    conduct: Conduct = field(default_factory=Conduct)

    @property
    def name(self) -> str:
        """What the function is called, and where it is from."""
        return name_of(self.act)
