"""What is configured of keepalives, and what is known of each link that has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeGuard

from pydantic import BaseModel, ConfigDict, Field

from vdp.api import (
    Bits,
    Datapath,
    GreTunnel,
    Header,
    IpTunnel,
    IPv4,
    IPv6,
    Link,
    LinkName,
    Packet,
    PacketType,
)

#: GRE protocol type of what comes back.
KEEPALIVE = 0


class Key(Header):
    value = Bits(32)


class LinkKeepalive(BaseModel):
    """The table [plugin.keepalive.link.NAME]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    send: bool = Field(False, description="probe the peer; the link is down while it does not answer")
    respond: bool = Field(False, description="send the peer's probes back to it")
    interval_s: Annotated[int, Field(ge=1, le=32767)] = Field(10, description="seconds between two probes")
    retries: Annotated[int, Field(ge=1, le=255)] = Field(
        3, description="probes without an answer after which the link is down"
    )


class Settings(BaseModel):
    """The table [plugin.keepalive]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    link: dict[LinkName, LinkKeepalive] = Field(default_factory=dict, description="by name of the link")


@dataclass(slots=True)
class Watch:
    """One link's keepalives.  `counter` is the engine's, of answers."""

    name: str
    options: LinkKeepalive
    counter: int
    answers: int = 0
    unanswered: int = 0
    due_ns: int = 0
    #: A probe is to be sent, as soon as the way to the peer is known.
    is_owed: bool = False
    #: The link is down because of us, not by configuration.
    is_down: bool = False


class Watches:
    """All of them; links come and go under their names."""

    def __init__(self, datapath: Datapath, settings: Settings) -> None:
        self._datapath = datapath
        self._watches = [Watch(name, options, self._new_counter()) for name, options in settings.link.items()]

    def __iter__(self) -> Iterator[Watch]:
        return iter(self._watches)

    def _new_counter(self) -> int:
        """An engine counter, given back if the plugin turns out to fail."""
        counter = self._datapath.engine.new_counter()
        self._datapath.undoable(partial(self._datapath.retire, [counter]))
        return counter

    def link(self, watch: Watch) -> GreTunnel | None:
        """The watch's link, where it is up, or down because of us."""
        link = self._datapath.links.get(watch.name)
        return link if carries_ip(link) and (link.up or watch.is_down) else None

    def between(self, packet: Packet, ip: IPv4 | IPv6) -> list[tuple[Watch, GreTunnel]]:
        """Links with the addresses of a received packet, whatever their key."""
        found = []
        for watch in self._watches:
            known = self._datapath.links.get(watch.name)
            if known is not None:
                packet.depends(known.tag)  # one that is not there yet will tell its underlay
            link = self.link(watch)
            if link is None or link.underlay.number != packet.in_port:
                continue
            if int(link.remote) == ip.source and int(link.local) in (0, ip.destination):
                found.append((watch, link))
        return found


def carries_ip(link: Link | None) -> TypeGuard[GreTunnel]:
    """Whether a keepalive can go through it: an IP packet in GRE."""
    return isinstance(link, GreTunnel) and link.packet_type is PacketType.L3


def can_be_probed(link: Link | None) -> TypeGuard[IpTunnel]:
    """Whether both ends are known, over IPv4: ip6gre sends no packet that has its peer's source address."""
    return isinstance(link, IpTunnel) and carries_ip(link) and bool(int(link.local) and int(link.remote))
