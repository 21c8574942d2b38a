"""Groups for tests: a list of who is a member of what."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.ports.port import Port


@dataclass(slots=True, eq=False)
class Member:
    """One membership, which takes itself off the list."""

    members: list[Member]
    interface: str
    group: IPAddress

    def leave(self) -> None:
        self.members.remove(self)


@dataclass
class StaticGroups:
    """A GroupSource without a kernel; `refusing` names interfaces that have no IP (ENODEV)."""

    members: list[Member] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)

    def join(self, port: Port, path: Path, group: IPAddress) -> Member:
        if path.interface in self.refusing:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self.members.append(Member(self.members, path.interface, group))
        return self.members[-1]

    def joined(self) -> list[tuple[str, str]]:
        """Interface and group of each membership, as they are now."""
        return [(member.interface, str(member.group)) for member in self.members]
