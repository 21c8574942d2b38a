"""The kernel as an oracle: the same frames into a Linux guest and into vdp, and what each made of them.

Both are the host 192.0.2.2 with the guest's MAC.  Frames to them come from a packet socket
on the guest's TAP, and from a memory port; what they send is seen there.  A `Group` is some
frames of one kind: for each the answer of either side is an `Outcome`, and outcomes compare
as they are: bytes, their EtherType and order, counters, ICMP errors.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pydantic import BaseModel, ValidationError

import vdp_wccp
from tests.interop.configured import Configured, errno_name, in_force
from tests.interop.kernel import GUEST_ADDRESS, GUEST_ADDRESS6, QUIET, Guest
from tests.lab import wait_for
from vdp.config.model import MTU_LEAST_IPV6, IcmpSection
from vdp.engine.interface import EngineConfig, MemoryPacket, Offload, PacketType
from vdp.engine.native import NativeEngine
from vdp.links.icmp_limit import IcmpLimits
from vdp.links.link import LinkError
from vdp.netlink import namespaces
from vdp.testing.builders import IP_ICMP, ethernet, icmp, ipv4, mac
from vdp.testing.dataplane import Dataplane
from vdp.testing.paths import StaticPaths

GUEST_MAC, PEER_MAC = "02:6b:70:00:00:01", "02:00:00:00:00:02"
#: Who asks whether the guest is done, and is the way to all others; no tunnel's end.
ASKER, ASKER6 = "192.0.2.254", "2001:db8::fe"
#: Frames sent before the guest is asked; the TAP queues 500.
BURST = 64
#: The data of the echoes that ask, and how often one is asked for.
ECHOED, ASKED = b"done?", 10
#: VLAN of the card by which inner packets come to the first link; the second's is one more.
FIRST_VLAN = 100
LINUX_SLL, SLL_SIZE = 113, 16
PACKET_OUTGOING = 4
RX = (
    "rx_packets",
    "rx_bytes",
    "rx_errors",
    "rx_crc_errors",
    "rx_fifo_errors",
    "rx_frame_errors",
    "multicast",
)
TX = ("tx_packets", "tx_bytes", "tx_errors", "tx_dropped", "tx_carrier_errors", "tx_fifo_errors",
      "tx_aborted_errors", "collisions")  # fmt: skip
SHELL_PORT = 7777
SETTINGS: dict[str, type[BaseModel]] = {"wccp": vdp_wccp.Settings}
_numbers = itertools.count(1)

Groups = Mapping[str, Sequence[bytes]]
Counters = dict[str, dict[str, int]]


@dataclass(frozen=True)
class LinkSpec:
    """A link, in the words of vdp's configuration."""

    name: str
    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def is_frames(self) -> bool:
        return self.kind not in ("gre", "ip6gre")

    @property
    def version(self) -> int:
        """Of the outer IP header."""
        return 6 if self.kind.startswith("ip6") else 4

    @property
    def numbered_from_0(self) -> LinkSpec:
        """As Linux does since 5.18 (`atomic_fetch_inc`), which the guest is; if it numbers its packets."""
        numbers = self.parameters.get("seq") or "erspan" in self.kind
        return replace(self, parameters={**self.parameters, "seq_start": 0}) if numbers else self

    def add(self) -> str:
        """What `ip -batch` makes it of."""
        given = dict(self.parameters)
        mtu = f"mtu {given.pop('mtu')} " if "mtu" in given else ""
        return f"link add {self.name} {mtu}type {self.kind} " + " ".join(_words(given))


def _words(parameters: Mapping[str, Any]) -> Iterator[str]:
    for name, value in parameters.items():
        if name == "pmtudisc":
            yield "pmtudisc" if value else "nopmtudisc"
        elif name == "link":
            yield f"dev {value}"
        elif name in ("tos", "flowlabel") and isinstance(value, int):
            yield f"{name} {value:#x}"  # iproute2 reads it as hexadecimal
        elif name == "flowlabel" and value == "auto":
            continue
        elif value is True:
            yield name.replace("_", "-")
        elif value is not False:
            yield f"{name} {value}"


@dataclass
class Outcome:
    """What became of a group.  `output`: by link, EtherType (0 for frames) and bytes of what was received."""

    output: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    counters: Counters = field(default_factory=dict)
    #: What was sent back to the underlay: frames.
    sent: list[bytes] = field(default_factory=list)

    def count(self, link: str) -> int:
        """Packets that a link counted as received."""
        return self.counters.get(link, {}).get("rx_packets", 0)

    def summary(self) -> dict[str, int]:
        """Packets received and sent, and what the counters but those of bytes moved, over all links."""
        found = {"out": sum(map(len, self.output.values())), "sent": len(self.sent)}
        for moved in self.counters.values():
            for name, count in moved.items():
                if not name.endswith("_bytes"):
                    found[name] = found.get(name, 0) + count
        return {name: count for name, count in found.items() if count}


class Wire:
    """The laboratory's end of the guest's card: frames go in, and what it sends comes out."""

    def __init__(self, guest: Guest) -> None:
        def opened() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            made.bind((guest.device, 3))
            made.setblocking(False)
            return made

        self._socket = namespaces.run_in(guest.host.name, opened)

    def close(self) -> None:
        self._socket.close()

    def exchange(self, frames: Sequence[bytes]) -> list[bytes]:
        """Send them; what the guest sent until it was done with all of them."""
        found: list[bytes] = []
        for at in range(0, max(1, len(frames)), BURST):
            for frame in frames[at : at + BURST]:
                self._socket.send(frame)
            self._ask(found)
        return found

    def _ask(self, found: list[bytes]) -> None:
        """Until an echo sent now has come back: the guest works on frames in their order.

        Asked again each second: now and then user-mode Linux misses the signal that says that frames
        have come, and finds them when the next one does.
        """
        number = next(_numbers)
        echo = ipv4(ASKER, GUEST_ADDRESS, icmp(8, 0, number, ECHOED), protocol=IP_ICMP)
        answer = struct.pack("!I", number)
        for _ in range(ASKED):
            self._socket.send(ethernet(echo, to=GUEST_MAC, origin=PEER_MAC))
            deadline = time.monotonic() + 1
            while (left := deadline - time.monotonic()) > 0:
                select.select([self._socket], [], [], left)
                for frame in self._read():
                    is_echo = frame[23] == IP_ICMP and frame[34] == 0 and frame[42:47] == ECHOED
                    if is_echo and frame[38:42] == answer:
                        return
                    if frame[:6] == mac(PEER_MAC) and not is_echo:  # one may be late that was asked for twice
                        found.append(frame)
        raise AssertionError(f"the guest does not answer an echo in {ASKED} s")

    def _read(self) -> Iterator[bytes]:
        while True:
            try:
                frame, origin = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if origin[2] != PACKET_OUTGOING:
                yield frame


class Shell:
    """A shell of the guest over TCP: starting a process for each question would take most of the time."""

    def __init__(self, guest: Guest) -> None:
        self._job = guest.spawn(f"exec nc -l -p {SHELL_PORT} -e sh")
        self._socket = wait_for("the guest's shell", lambda: self._connect(guest))
        self._answers = self._socket.makefile()

    @staticmethod
    def _connect(guest: Guest) -> socket.socket | None:
        made = namespaces.run_in(guest.host.name, socket.socket)
        made.settimeout(10)
        try:
            made.connect((GUEST_ADDRESS, SHELL_PORT))
        except ConnectionRefusedError:
            made.close()
            return None
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def ask(self, command: str, lines: int) -> list[str]:
        """That many lines of what the command says."""
        self._socket.sendall(command.encode() + b"\n")
        return [self._answers.readline() for _ in range(lines)]

    def close(self) -> None:
        self._socket.sendall(b"exit\n")
        self._answers.close()
        self._socket.close()
        self._job.wait()


class KernelOracle:
    """The guest's side."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.wire = Wire(guest)
        self._shell = Shell(guest)
        # Errors are compared one for one: none may be held back.
        guest.sh(
            "sysctl -qw net.ipv4.icmp_ratemask=0 net.ipv4.icmp_msgs_per_sec=100000"
            " net.ipv4.icmp_msgs_burst=10000 net.ipv6.icmp.ratelimit=0 net.ipv6.auto_flowlabels=0"
            f"; ip route replace default via {ASKER}; ip -6 route replace default via {ASKER6} dev eth0"
        )
        self.neighbour(ASKER, *(f"192.0.2.{n}" for n in range(9, 50)))
        self.neighbour(ASKER6, *(f"2001:db8::{n}" for n in range(9, 50)))

    def close(self) -> None:
        self.wire.close()
        self._shell.close()

    def neighbour(self, *addresses: str) -> None:
        """Have them answer for, at PEER_MAC."""
        lines = [f"neigh replace {a} lladdr {PEER_MAC} nud permanent dev eth0" for a in addresses]
        self.batch(lines)

    def batch(self, lines: Sequence[str], *, force: bool = False, program: str = "ip") -> dict[int, str]:
        """Run lines of `ip -batch`; with `force` the errors by line, counted from 0."""
        options = "-force -batch -" if force else "-batch -"
        done = self._guest.run(f"{program} {options}", "".join(f"{line}\n" for line in lines).encode())
        assert force or done.status == 0, f"{lines}\n{done.err}"
        found = re.findall(r"((?:.*\n)+?)Command failed -:(\d+)\n", done.err)
        return {int(number) - 1: said.strip() for said, number in found}

    @contextlib.contextmanager
    def links(self, *specs: LinkSpec, commands: Sequence[str] = ()) -> Iterator[None]:
        """The links, up, while the block runs."""
        lines = [line for spec in specs for line in (spec.add(), f"link set {spec.name} up")]
        try:
            self.batch(lines)
            for command in commands:
                self._guest.sh(command)
            yield
        finally:
            self.batch([f"link del {spec.name}" for spec in specs], force=True)

    @contextlib.contextmanager
    def fed(self, *specs: LinkSpec) -> Iterator[None]:
        """What comes on a VLAN of the card is sent by a link: the nth one's is FIRST_VLAN + n."""
        vlans = [f"v{FIRST_VLAN + n}" for n in range(len(specs))]
        lines, filters = [], []
        for number, (vlan, spec) in enumerate(zip(vlans, specs, strict=True)):
            lines.append(f"link add link eth0 name {vlan} type vlan id {FIRST_VLAN + number}")
            lines.append(f"link set {vlan} up promisc on")
            filters.append(f"qdisc add dev {vlan} clsact")
            filters.append(
                f"filter add dev {vlan} ingress matchall action mirred egress redirect dev {spec.name}"
            )
        try:
            self.batch(lines)
            self.batch(filters, program="tc")
            yield
        finally:
            self.batch([f"link del {vlan}" for vlan in vlans], force=True)

    @contextlib.contextmanager
    def underlays(self, addresses: Mapping[int, str]) -> Iterator[None]:
        """Further devices of the guest, by MTU, with an address each."""
        self.batch([f"link add u{mtu} mtu {mtu} type dummy" for mtu in addresses])
        try:
            # A device with an MTU below that has no IPv6 at all.
            self.enable_ip6(*(f"u{mtu}" for mtu in addresses if mtu >= MTU_LEAST_IPV6))
            for mtu, address in addresses.items():
                extra = " nodad" if ":" in address else ""
                self.batch([f"addr add {address} dev u{mtu}{extra}", f"link set u{mtu} up"])
            yield
        finally:
            self.batch([f"link del u{mtu}" for mtu in addresses], force=True)

    def configure(self, specs: Sequence[LinkSpec]) -> dict[str, Configured]:
        """Make the links one after the other; what became of each, or the error's text.  They go again."""
        errors = self.batch([spec.add() for spec in specs], force=True)
        refused = {specs[line].name: errno_name(said) for line, said in errors.items()}
        try:
            rows = {row["ifname"]: row for row in json.loads(self._guest.sh("ip -d -j link show"))}
            return {
                spec.name: refused[spec.name] if spec.name in refused else in_force(rows[spec.name])
                for spec in specs
            }
        finally:
            made = [f"link del {spec.name}" for spec in specs if spec.name not in refused]
            self.batch(made, force=True)

    def enable_ip6(self, *devices: str) -> None:
        """Let devices carry IPv6, and send nothing of their own."""
        words = [f"net.ipv6.conf.{d}.{w}" for w in QUIET for d in devices]
        self._guest.sh(f"sysctl -qw {' '.join(words)}")

    def set(self, *words: str) -> None:
        """sysctl in the guest: NAME=VALUE."""
        self._guest.sh(f"sysctl -qw {' '.join(words)}")

    @contextlib.contextmanager
    def routed(self, routes: Mapping[str, Sequence[str]]) -> Iterator[None]:
        """The guest is a router; `routes` has prefixes for each link."""
        self.set("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.enable_ip6(*routes)
        try:
            self.batch(
                [f"route add {prefix} dev {link}" for link, all_of in routes.items() for prefix in all_of]
            )
            yield
        finally:
            self.set("net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")

    def counters(self, specs: Sequence[LinkSpec], names: Sequence[str]) -> Counters:
        """Of the links now (what `ip -s -s link` shows), from sysfs by a shell that is there already."""
        links = " ".join(spec.name for spec in specs)
        said = self._shell.ask(
            f"for d in {links}; do for c in {' '.join(names)}; do"
            " read v </sys/class/net/$d/statistics/$c; echo $v; done; done",
            len(specs) * len(names),
        )
        values = iter(said)
        return {spec.name: {name: int(next(values)) for name in names} for spec in specs}

    def receive(self, specs: Sequence[LinkSpec], groups: Groups) -> dict[str, Outcome]:
        """Underlay frames of each group go in.  Outputs are told apart by the counters, and by order."""
        outcomes = {}
        with self._capture(specs) as captured:
            before = self.counters(specs, RX)
            for name, frames in groups.items():
                outcome = outcomes[name] = Outcome(sent=self.wire.exchange(frames))
                after = self.counters(specs, RX)
                outcome.counters = moved(before, after)
                before = after
            files = captured({s.name: sum(o.count(s.name) for o in outcomes.values()) for s in specs})
        for spec in specs:
            packets = iter(files[spec.name])
            for outcome in outcomes.values():
                taken = list(itertools.islice(packets, outcome.count(spec.name)))
                if taken:
                    outcome.output[spec.name] = taken
            assert not list(packets), f"{spec.name} gave more packets than it counted"
        return outcomes

    def transmit(
        self, specs: Sequence[LinkSpec], groups: Mapping[str, tuple[str, Sequence[bytes]]]
    ) -> dict[str, Outcome]:
        """Frames of each group are sent by the link it names (L3 links: without the Ethernet header)."""
        names = [spec.name for spec in specs]
        outcomes = {}
        with self.fed(*specs):
            before = self.counters(specs, TX)
            for name, (link, frames) in groups.items():
                tag = struct.pack("!HH", 0x8100, FIRST_VLAN + names.index(link))
                sent = self.wire.exchange([frame[:12] + tag + frame[12:] for frame in frames])
                after = self.counters(specs, TX)
                outcomes[name] = Outcome(counters=moved(before, after), sent=sent)
                before = after
        return outcomes

    @contextlib.contextmanager
    def _capture(
        self, specs: Sequence[LinkSpec]
    ) -> Iterator[Callable[[Mapping[str, int]], dict[str, list[tuple[int, bytes]]]]]:
        """tcpdump on each link, for what comes in; gives what reads that many packets of each."""
        names = " ".join(spec.name for spec in specs)
        folder = f"/tmp/oracle.{next(_numbers)}"
        job = self._guest.spawn(
            f"mkdir {folder}; for d in {names}; do tcpdump -i $d -Q in -s 2048 -n -U -B 4096"
            f" --immediate-mode -w {folder}/$d 2>{folder}/$d.err & done; wait"
        )
        self._guest.sh(f"for d in {names}; do until [ -s {folder}/$d ]; do sleep 0.02; done; done")

        def read(wanted: Mapping[str, int]) -> dict[str, list[tuple[int, bytes]]]:
            found: dict[str, list[tuple[int, bytes]]] = {}

            def complete() -> bool:
                for name in wanted:
                    if len(found.get(name, ())) < wanted[name]:
                        found[name] = _pcap(self._guest.read(f"{folder}/{name}"))
                    found.setdefault(name, [])
                return all(len(found[name]) >= count for name, count in wanted.items())

            with contextlib.suppress(AssertionError):
                wait_for("what was counted to be captured", complete, 3)
            return found

        try:
            yield read
        finally:
            job.stop(15)
            self._guest.sh(f"rm -r {folder}")


class VdpOracle:
    """vdp's side, in memory: port "underlay", and for each link a port "lan-NAME" behind it."""

    def __init__(
        self,
        specs: Sequence[LinkSpec],
        settings: Mapping[str, dict[str, Any]] | None = None,
        mtu: int = 1500,
        plugins: Sequence[str] = ("gre", "gretap", "wccp", "ip6gre"),
        unreachable: Sequence[str] = (),
    ) -> None:
        engine = NativeEngine(EngineConfig(action_rate=1_000_000, upcall_rate=1_000_000))
        models = {name: SETTINGS[name].model_validate(values) for name, values in (settings or {}).items()}
        ends = IPv4Address(GUEST_ADDRESS), IPv6Address(GUEST_ADDRESS6)
        paths = StaticPaths(mtu, *ends, unreachable={ip_address(a) for a in unreachable})
        self.plane = Dataplane(engine, plugins, paths, models)
        icmp = self.plane.datapath.icmp
        icmp.limits = IcmpLimits(engine.clock, IcmpSection(ratelimit_ms=0, msgs_burst=1_000_000))
        self.plane.port("underlay", PacketType.L2, mac=mac(GUEST_MAC))
        self._specs = specs
        for spec in specs:
            self.plane.port(_lan(spec.name), PacketType.L2 if spec.is_frames else PacketType.L3)
            self.plane.link(spec.name, spec.kind, **spec.parameters)
            self.plane.connect(_lan(spec.name), spec.name)

    def close(self) -> None:
        self.plane.close()

    def counters(self) -> Counters:
        found = {spec.name: self.plane.counters(spec.name) for spec in self._specs}
        return {link: {name: row[name] for name in RX + TX} for link, row in found.items()}

    def configure(self, spec: LinkSpec) -> Configured:
        """Make a link; what became of it, or the error's name."""
        try:
            link = self.plane.link(spec.name, spec.kind, **spec.parameters)
        except LinkError as error:
            return errno.errorcode[error.errno or 0]
        except ValidationError:
            return "EINVAL"
        info = {name: value for name, value in link.fill_info().items() if name != "underlay"}
        return info | {"mtu": link.mtu, "iflags": sorted(info["iflags"]), "oflags": sorted(info["oflags"])}

    def receive(self, groups: Groups) -> dict[str, Outcome]:
        """Underlay frames of each group go in."""
        return {name: self._outcome("underlay", frames) for name, frames in groups.items()}

    def transmit(self, groups: Mapping[str, tuple[str, Sequence[bytes]]]) -> dict[str, Outcome]:
        """Frames of each group are sent by the link it names (L3 links: without the Ethernet header)."""
        return {name: self._outcome(_lan(link), frames) for name, (link, frames) in groups.items()}

    def _outcome(self, port: str, frames: Sequence[bytes]) -> Outcome:
        before = self.counters()
        outcome = Outcome()
        for frame in frames:
            self._inject(port, frame)
            self.plane.settle()
            outcome.sent += self.plane.received("underlay")
            for spec in self._specs:
                packets = self.plane.collect(_lan(spec.name))
                if packets:
                    outcome.output.setdefault(spec.name, []).extend(
                        (0 if spec.is_frames else int.from_bytes(p.meta[4:8], "big"), p.data) for p in packets
                    )
        outcome.counters = moved(before, self.counters())
        return outcome

    def _inject(self, port: str, frame: bytes) -> None:
        found = self.plane.datapath.ports[port]
        meta = bytearray(32)
        if found.packet_type is PacketType.L3:
            meta[3], meta[6:8] = PacketType.L3, frame[12:14]
            frame = frame[14:]
        self.plane.engine.inject(found.number, MemoryPacket(frame, bytes(meta), Offload()))


def moved(before: Counters, after: Counters) -> Counters:
    """What the counters moved by; links and counters that did not are left out."""
    found = {
        link: {name: n - before[link][name] for name, n in row.items() if n != before[link][name]}
        for link, row in after.items()
    }
    return {link: row for link, row in found.items() if row}


def _lan(link: str) -> str:
    return f"lan-{link}"


def _pcap(data: bytes) -> list[tuple[int, bytes]]:
    """EtherType and bytes of the packets of a pcap file; for Ethernet 0 and the frame."""
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    (kind,) = struct.unpack_from(order + "I", data, 20)
    packets, at = [], 24
    while at + 16 <= len(data):
        (kept,) = struct.unpack_from(order + "I", data, at + 8)
        packet = data[at + 16 : at + 16 + kept]
        if len(packet) < kept:
            break
        if kind == LINUX_SLL:
            packets.append((int.from_bytes(packet[14:16], "big"), packet[SLL_SIZE:]))
        else:
            packets.append((0, packet))
        at += 16 + kept
    return packets
