"""Probes are sent, and links taken down and up by what becomes of them."""

from __future__ import annotations

import logging

from vdp.api import (
    Datapath,
    EtherType,
    GreBase,
    IPProtocol,
    IpTunnel,
    IPv4,
    PacketType,
    PathPending,
    internet_checksum,
)
from vdp_keepalive.watch import KEEPALIVE, Key, Watch, Watches, can_be_probed

#: As Cisco IOS: precedence 6 (internetwork control), and the most hops there are.
PRECEDENCE = 48
TTL = 255
NS = 1_000_000_000


class Sender:
    """What is done every second."""

    def __init__(self, datapath: Datapath, watches: Watches) -> None:
        self._datapath = datapath
        self._watches = watches

    def tick(self) -> None:
        """Look for answers, and send what is due."""
        for watch in self._watches:
            link = self._watches.link(watch)
            if not watch.options.send or not can_be_probed(link):
                watch.unanswered, watch.is_owed = 0, False
                continue
            self._count_answers(watch)
            self._count_time(watch)
            if watch.is_owed:
                try:
                    self._datapath.send(watch.name, probe(link), PacketType.L3, EtherType.IPV4)
                    watch.is_owed = False
                except PathPending:
                    continue  # the way is being asked for; the next tick tries again

    def _count_answers(self, watch: Watch) -> None:
        answers = self._datapath.engine.read_counter(watch.counter).packets
        if answers != watch.answers:
            watch.answers, watch.unanswered = answers, 0
            if watch.is_down:
                self._set_down(watch, False, "keepalives are answered: up")

    def _count_time(self, watch: Watch) -> None:
        now = self._datapath.engine.clock()
        if now < watch.due_ns:
            return
        if watch.unanswered >= watch.options.retries and not watch.is_down:
            self._set_down(watch, True, f"{watch.unanswered} keepalives without an answer: down")
        watch.due_ns = now + watch.options.interval_s * NS
        watch.unanswered += 1
        watch.is_owed = True

    def _set_down(self, watch: Watch, is_down: bool, what: str) -> None:
        watch.is_down = is_down
        self._datapath.set_link_up(watch.name, not is_down)
        self._datapath.say(logging.WARNING, ("keepalive", watch.name, is_down), "%s: %s", watch.name, what)


def probe(link: IpTunnel) -> bytes:
    """What the peer is to send back: the link's encapsulation makes a probe of it."""
    key = link.parameters.input_key
    gre = GreBase.pack(key=key is not None, protocol=KEEPALIVE)
    gre += Key.pack(value=key) if key is not None else b""
    header = IPv4.pack(
        version=4,
        ihl=5,
        dscp=PRECEDENCE,
        total_length=IPv4.SIZE + len(gre),
        ttl=TTL,
        protocol=IPProtocol.GRE,
        source=int(link.remote),
        destination=int(link.local),
    )
    at = IPv4.checksum.offset
    return header[:at] + internet_checksum(header) + header[at + 2 :] + gre
