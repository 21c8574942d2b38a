"""What tunnels over a packet port receive by, and all that is done in the kernel for it.

A packet socket hears frames beside the host's stack, which has to be told: a listener that
keeps nothing stands in for each protocol and UDP port (else the kernel refuses them), what
is heard is dropped before the stack spends more on it, and super-packets in GRE may go out
whole.  Links come and go while packets pass, so all of that can be changed: what is new is
there before what it replaces goes, and a change that fails leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from vdp.engine.interface import Feature
from vdp.ports import egress, filters, ingress, raw
from vdp.ports.errors import PortError
from vdp.protocols.ip import IPProtocol

if TYPE_CHECKING:
    from vdp.config.model import PortSection
    from vdp.netlink import Netlink
    from vdp.service import FdStore

log = logging.getLogger(__name__)

#: An address family, and an IP protocol or UDP port of it.
Sort = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Carried:
    """What a packet port carries.

    protocols, ports: IP protocols and UDP ports that its tunnels receive by.  promiscuous:
    frames for any MAC address, as a member of a bridge must take.  only: it is shown nothing
    but its tunnels' packets, ARP and tagged frames.
    """

    protocols: frozenset[Sort] = frozenset()
    ports: frozenset[Sort] = frozenset()
    promiscuous: bool = False
    only: bool = False

    @property
    def all_groups(self) -> bool:
        """Solicitations for a tunnel's address go to a group that the kernel need not have joined."""
        return any(family == socket.AF_INET6 for family, _ in (*self.protocols, *self.ports))

    @classmethod
    def by(
        cls,
        protocols: Iterable[int] = (),
        protocols6: Iterable[int] = (),
        udp: Iterable[int] = (),
        udp6: Iterable[int] = (),
        *,
        promiscuous: bool = False,
        only: bool = False,
    ) -> Carried:
        """By these protocols and UDP ports of IPv4 and IPv6."""
        return cls(_sorts(protocols, protocols6), _sorts(udp, udp6), promiscuous=promiscuous, only=only)


def _sorts(numbers: Iterable[int], numbers6: Iterable[int]) -> frozenset[Sort]:
    return frozenset(
        [(socket.AF_INET, number) for number in numbers] + [(socket.AF_INET6, number) for number in numbers6]
    )


def _numbers(sorts: Iterable[Sort], family: int) -> list[int]:
    return sorted(number for each, number in sorts if each == family)


class PacketUnderlay:
    """The kernel's side of a packet port, beside its sockets.  Close it before they are closed."""

    def __init__(
        self,
        section: PortSection,
        netlink: Netlink,
        ifindex: int,
        sockets: Sequence[socket.socket],
        senders: Sequence[socket.socket],
        store: FdStore,
        *,
        is_kept: bool = False,
    ) -> None:
        """store: holds what stands in, until the next process has its own.  is_kept: sockets from there."""
        self._section = section
        self._netlink = netlink
        self._ifindex = ifindex
        self._sockets = sockets
        #: Those that send only; where a worker has none, it sends by one of the others.
        self._senders = senders
        #: As the sockets were opened: `carry` goes on from that.
        self.carried = Carried()
        self.is_exclusive = section.exclusive
        self._is_kept = is_kept
        self._store = store
        #: Names in the store: none is that of another process's.
        self._generation = f"{time.monotonic_ns():x}"
        self._quiet: dict[tuple[str, Sort], socket.socket] = {}
        self._dropped: tuple[frozenset[Sort], frozenset[Sort]] = (frozenset(), frozenset())
        self._drop: ingress.IngressDrop | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._claimed: Sequence[IPv4Address | IPv6Address] = ()
        self._uncut: egress.GreSuperPackets | None = None

    @property
    def features(self) -> Feature:
        """What the port takes on transmit."""
        features = raw.packet_features(self._offloads)
        return features | Feature.GRE_TSO if self._uncut is not None else features

    @property
    def _offloads(self) -> bool:
        """Whether super-packets and unfinished checksums may go out; a driver takes none of AF_XDP."""
        return self._section.offload and self._section.transmit == "stack"

    def carry(self, wanted: Carried, *, exclusive: bool, programs: bool = True) -> None:
        """Be ready for that from now on, and for nothing else.  PortError, OSError: it is as it was.

        programs: with the classifiers on the device, which cost time once and save it later: the kernel
        waits some 10 ms with each (synchronize_rcu).  Without: they are as they were, until the next call.
        """
        made = self._listen(wanted)
        before, was_exclusive = self.carried, self.is_exclusive
        try:
            self._join(before, wanted)
            self._show(wanted)
        except BaseException:
            for one in made.values():
                one.close()
            with contextlib.suppress(OSError):
                self._join(wanted, before)
                self._show(before)
            raise
        self._quiet |= made
        for key, one in made.items():
            self._store.put(self._name(key), one.fileno())
        self.carried, self.is_exclusive = wanted, exclusive
        kept = {("protocol", sort) for sort in wanted.protocols} | {("port", sort) for sort in wanted.ports}
        what = (wanted.protocols, wanted.ports) if exclusive else (frozenset[Sort](), frozenset[Sort]())
        if programs and (what != self._dropped or exclusive != was_exclusive):
            self._keep_from_host(*what)
        for key in self._quiet.keys() - kept:
            self._quiet.pop(key).close()
            self._store.remove(self._name(key))
        if programs:
            self._cut_behind_gre()

    def claim(self, addresses: Sequence[IPv4Address | IPv6Address]) -> None:
        """Addresses that only the links over the port have, not the host."""
        self._claimed = addresses
        if self._drop is not None:
            self._drop.claim(addresses)

    def close(self) -> None:
        """Take all of it away."""
        self._unsubscribe()
        for one in (self._drop, self._uncut, *self._quiet.values()):
            if one is not None:
                one.close()
        self._store.remove(*map(self._name, self._quiet))
        self._quiet.clear()
        self._drop = self._uncut = None

    def _name(self, key: tuple[str, Sort]) -> str:
        what, (family, number) = key
        version = 6 if family == socket.AF_INET6 else 4
        return f"{self._section.name} listener {what} {number} of IPv{version} {self._generation}"

    # -- steps --------------------------------------------------------------------------------

    def _listen(self, wanted: Carried) -> Mapping[tuple[str, Sort], socket.socket]:
        """Keep the kernel from refusing what is new."""
        made: dict[tuple[str, Sort], socket.socket] = {}
        netns = self._section.netns
        try:
            for family, protocol in wanted.protocols:
                if ("protocol", (family, protocol)) not in self._quiet:
                    made["protocol", (family, protocol)] = raw.quiet_socket(protocol, netns, family)
            for family, port in wanted.ports:
                if ("port", (family, port)) not in self._quiet:
                    made["port", (family, port)] = self._bind(family, port)
        except BaseException:
            for one in made.values():
                one.close()
            raise
        return made

    def _bind(self, family: int, port: int) -> socket.socket:
        """PortError where the UDP port is somebody else's."""
        try:
            return raw.quiet_udp_socket(port, self._section.netns, family)
        except OSError as refused:
            if refused.errno != errno.EADDRINUSE:
                raise
            sentence = f"UDP port {port}, on which its tunnels listen, is in use"
            raise PortError(
                self._section.name, f"{sentence}: end who has it, or set encap_dport"
            ) from refused

    def _join(self, before: Carried, wanted: Carried) -> None:
        """What the sockets take beside frames for the interface's own MAC address."""
        if self._is_kept:  # what they took for another process they take once more, not twice
            for one in self._sockets[:1]:
                raw.take_any_address(one, self._ifindex, False)
                raw.take_any_group(one, self._ifindex, False)
            self._is_kept = False
        for is_now, was, change in (
            (wanted.promiscuous, before.promiscuous, raw.take_any_address),
            (wanted.all_groups, before.all_groups, raw.take_any_group),
        ):
            if is_now != was:
                change(self._sockets[0], self._ifindex, is_now)  # it is the device's

    def _show(self, wanted: Carried) -> None:
        """Narrow the sockets to what is carried, or not."""
        program = filters.TAKE_ALL
        if wanted.only:
            program = filters.underlay_program(
                _numbers(wanted.protocols, socket.AF_INET),
                _numbers(wanted.protocols, socket.AF_INET6),
                _numbers(wanted.ports, socket.AF_INET),
                _numbers(wanted.ports, socket.AF_INET6),
            )
        controls = raw.control_sockets(self._section.queues)
        for number, one in enumerate(reversed(self._sockets)):
            if controls:
                filters.attach(one, filters.apart(program, control=number < controls))
            else:
                filters.attach(one, program)

    def _keep_from_host(self, protocols: frozenset[Sort], ports: frozenset[Sort]) -> None:
        """Only the port hears its tunnels' packets, as far as the kernel has means for that."""
        self._unsubscribe()
        old, self._drop, self._unsubscribe = self._drop, None, lambda: None
        self._dropped = (protocols, ports)
        if protocols or ports:
            try:
                drop = ingress.IngressDrop(self._ifindex, self._section.netns, protocols, ports)
            except OSError as refused:
                name = self._section.name
                log.info("port %s: the host sees its tunnels' packets, too: %s", name, refused.strerror)
            else:
                self._drop = drop
                self._unsubscribe = self._netlink.subscribe(lambda event: drop.follow(self._netlink))
                drop.follow(self._netlink)
                drop.claim(self._claimed)
        if old is not None:
            old.close()

    def _cut_behind_gre(self) -> None:
        """Super-packets in GRE may go out whole, as far as the kernel has means for that.  It stays so."""
        is_gre = any(protocol == IPProtocol.GRE for _, protocol in self.carried.protocols)
        is_gre = is_gre or bool(self.carried.ports)  # of GRE in UDP, perhaps
        if not is_gre or not self._offloads or self._uncut is not None:
            return
        sockets = [*self._sockets, *self._senders]
        try:
            self._uncut = egress.GreSuperPackets(self._ifindex, self._section.netns, sockets)
        except OSError as refused:
            log.info("port %s: super-packets are cut before GRE: %s", self._section.name, refused.strerror)
