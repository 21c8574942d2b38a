"""Membership of the groups that tunnels have as their remote: ipgre_open and ipgre_close.

A link with a multicast remote is a member of that group while it is up, on the device by
which the way to the group leads (mlink in struct ip_tunnel).  It follows the way to another
device.  Who does the joining is a `GroupSource`: the kernel, or a list in tests.
"""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vdp.links.link import LinkError

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.ports.port import Port

log = logging.getLogger(__name__)


class Membership(Protocol):
    """That a device is a member of a group, for as long as it is wanted."""

    def leave(self) -> None:
        """It is no longer wanted; called once."""


class GroupSource(Protocol):
    """Who makes a device of an underlay port's namespace a member of a group."""

    def join(self, port: Port, path: Path, group: IPAddress) -> Membership:
        """By the device that `path` leads to; OSError where that can not be."""


class NoGroups:
    """For a dataplane without a kernel: every group is joined, and nothing happens."""

    def join(self, port: Port, path: Path, group: IPAddress) -> Membership:
        return self

    def leave(self) -> None:
        return


@dataclass(slots=True)
class Wanted:
    """What a link is to be a member of, and is, unless its device refused when the way changed."""

    port: Port
    group: IPAddress
    ifindex: int
    membership: Membership | None


class Groups:
    """The memberships of a dataplane, by link."""

    def __init__(self, source: GroupSource) -> None:
        self._source = source
        self._wanted: dict[str, Wanted] = {}

    def join(self, link: str, port: Port, path: Path | None, group: IPAddress) -> None:
        """ipgre_open.  LinkError EADDRNOTAVAIL where no way leads there, or the device takes no group."""
        if path is None:
            raise LinkError(
                errno.EADDRNOTAVAIL,
                link,
                f"no way leads to the group {group}: it needs a route, or a local address that is a device's",
            )
        try:
            membership = self._source.join(port, path, group)
        except OSError as error:
            raise LinkError(
                errno.EADDRNOTAVAIL,
                link,
                f"{path.interface} can not be a member of the group {group}: {error.strerror}",
            ) from error
        self.leave(link)
        self._wanted[link] = Wanted(port, group, path.ifindex, membership)

    def follow(self, link: str, group: IPAddress, path: Path | None) -> None:
        """The way to the link's group is another: be a member where it leads now.

        Without any way the membership stays where it was; a device that refuses is asked
        again when the way changes next.
        """
        wanted = self._wanted.get(link)
        if wanted is None or wanted.group != group or path is None:
            return
        if wanted.membership is not None and wanted.ifindex == path.ifindex:
            return
        if wanted.membership is not None:
            wanted.membership.leave()
        wanted.ifindex, wanted.membership = path.ifindex, None
        try:
            wanted.membership = self._source.join(wanted.port, path, wanted.group)
        except OSError as error:
            log.warning(
                "link %s: %s can not be a member of the group %s: %s",
                link, path.interface, wanted.group, error.strerror,
            )  # fmt: skip

    def leave(self, link: str) -> None:
        """ipgre_close; nothing happens where the link is in no group."""
        wanted = self._wanted.pop(link, None)
        if wanted is not None and wanted.membership is not None:
            wanted.membership.leave()
