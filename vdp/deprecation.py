"""Names that go.  Who uses one is told where, and what to use instead, for one minor version.

    deprecated("Datapath.say", since="0.2", instead="Datapath.log")    # first line of what goes

What is deprecated since 0.2 works in every 0.2.x, and is gone in 0.3; a test holds vdp to that.
A name of vdp.api that goes is listed there, in `DEPRECATED`.  The warning is a Python
`DeprecationWarning` at the plugin's line: pytest shows it, the daemon logs it (vdp.log), once a line.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

from vdp.time_limit import is_others


class VdpDeprecation(DeprecationWarning):
    """Something of vdp's public API that goes with the next minor version."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """A name of vdp.api that goes, and the one that it stands for until then."""

    since: str
    instead: str


def gone_in(since: str) -> str:
    """The first version without what is deprecated since version `since`: the next minor one."""
    major, minor = since.split(".")[:2]
    return f"{major}.{int(minor) + 1}"


def deprecated(name: str, since: str, instead: str) -> None:
    """Warn whoever called what this is called in: the nearest line that is a plugin's."""
    frame = sys._getframe(1)
    while not is_others(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    text = f"{name} is deprecated since vdp {since}, and gone in {gone_in(since)}: use {instead}"
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, VdpDeprecation, frame.f_code.co_filename, frame.f_lineno, registry=registry)
