"""A dataplane with something of everything, and random packets for it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_network
from random import Random
from typing import Any

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.engine.interface import Offload
from vdp.forwarding.routes import Route
from vdp.testing import builders
from vdp.testing.builders import arp, ethernet, gre, icmp, ipv4, ipv6, tcp, udp, vlan
from vdp.testing.paths import StaticPaths

A6, B6 = "2001:db8::1", "2001:db8::2"
SILENT = "203.0.113.9"
LARGE = tuple(f"m{number}" for number in range(10))
MACS = tuple(f"02:00:00:00:01:{number:02x}" for number in range(6))
INPUTS = ("underlay", "underlay6", "wire", "lan", "lan6", "tap0", "tap1", "m0", "lonely")


def build(make_plane: MakePlane, **config: int) -> Plane:
    """gre and gretap with every option; bridges small and large; rules and routes."""
    paths = StaticPaths(silent={IPv4Address(SILENT)})
    plane = make_plane(
        ("gre", "gretap", "ip6gre", "wccp"), paths, **({"action_rate": 0, "upcall_rate": 0} | config)
    )
    for name in ("underlay", "underlay6", "lan", "lan6", "far", "lonely"):
        plane.port(name, L3)
    plane.port("wire", L2, mtu=1500, mac=bytes.fromhex("020000000001"))
    for name in ("tap0", "tap1", *LARGE):
        plane.port(name, L2, mtu=1500)
    plane.link("gre1", "gre", local=A, remote=B, key=1)
    plane.link("gre2", "gre", local=A, remote=B, key=2, csum=True, seq=True, ttl=9)
    plane.link(
        "gre3", "gre", local=A, remote=B, key=3, iseq=True, seq_window=8, pmtudisc=False, ttl="inherit"
    )
    plane.link("gre4", "gre", local=A, remote=B, key=4, iseq=True, seq_state="explicit", up=True)
    plane.link("gre5", "gre", underlay="wire", local=A, remote=SILENT)
    plane.link("gt1", "gretap", local=A, remote=B, key=11, ignore_df=True, pmtudisc=False)
    plane.link("gt2", "gretap", underlay="wire", local=A, remote=B, key=12)
    plane.link("gt3", "gretap", local=A, remote=B, key=13, up=False)
    plane.link("six", "ip6gre", underlay="underlay6", local=A6, remote=B6)
    plane.bridge("br0", "tap0", "tap1", "gt1", "gt2", "gt3")
    plane.bridge("br1", *LARGE)
    plane.connect("lan6", "six")
    plane.rule(priority=9, match={"in_port": "lan", "ip_proto": 17}, actions=["drop"])
    plane.rule(priority=8, match={"in_port": "tap1", "eth_type": "arp"}, actions=["output:tap0", "flood"])
    plane.route(
        *(Route(ip_network(f"10.{n}.0.0/16"), f"gre{n}") for n in range(1, 6)),
        Route(ip_network("10.9.0.0/16"), "far"),
        Route(ip_network("10.8.0.0/16"), "lan"),
    )
    return plane


class Traffic:
    """Random packets: mostly right, in part wrong in something, some broken, some super-packets."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._number = 0  # of TCP's bytes
        self._sequence = 0  # of tunnels' packets

    def next(self) -> tuple[str, bytes, int]:
        """Port, packet, and payload of a segment (0: no super-packet)."""
        pick = self.random.choice
        port = pick(INPUTS)
        is_inner = port not in ("underlay", "underlay6", "wire")
        segment_size = pick((400, 1000, 1460)) if is_inner and self.random.random() < 0.1 else 0
        data = self._of(port, segment_size)
        if self.random.random() < 0.12 and not segment_size:
            data = self._broken(data)
        return port, data, segment_size

    def _of(self, port: str, segment_size: int) -> bytes:
        if port in ("lan", "lan6", "lonely"):
            return self._inner(segment_size, six=port == "lan6" or self.random.random() < 0.1)
        if port in ("tap0", "tap1", "m0"):
            return self._frame(segment_size)
        if port == "underlay6":
            return self._outer6()
        packet = self._outer()
        return ethernet(packet, to="02:00:00:00:00:01") if port == "wire" else packet

    def _inner(self, segment_size: int, six: bool = False) -> bytes:
        chance, pick = self.random, self.random.choice
        size = segment_size * 3 + 11 if segment_size else pick((0, 10, 100, 1400, 1500))
        kind = pick("tuui")
        if segment_size:
            kind = "t"
        if kind == "t":
            self._number += size
            payload: Any = tcp(pick((1000, 1001)), 80, bytes(size), seq=self._number)
        else:
            payload = udp(pick((5, 6)), pick((53, 99)), bytes(size))
        if six:
            return ipv6(
                f"2001:db8:1::{pick('12')}", "2001:db8:2::2", payload, traffic_class=chance.randrange(4)
            )
        if kind == "i":
            payload = icmp(pick((0, 3, 8, 11)), pick((0, 4)), payload=bytes(30))
        return ipv4(
            f"10.{chance.randrange(10)}.0.{pick('12')}", f"10.{chance.randrange(11)}.0.7", payload,
            protocol=1 if kind == "i" else None, flags=pick((0, 2)), ttl=pick((1, 2, 64)),
            tos=pick((0, 1, 2, 3)), options=pick((b"", b"", b"\1\1\1\1")),
        )  # fmt: skip

    def _frame(self, segment_size: int) -> bytes:
        pick = self.random.choice
        to = pick((*MACS, "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:0e"))
        if pick((0, 0, 0, 1)) and not segment_size:
            return ethernet(
                arp(1, MACS[0], "10.0.0.1", MACS[1], "10.0.0.2"), to=to, origin=pick(MACS), ethertype=0x0806
            )
        frame = ethernet(self._inner(segment_size), to=to, origin=pick(MACS))
        return vlan(frame, 5) if pick((0, 0, 0, 1)) else frame

    def _outer(self) -> bytes:
        chance, pick = self.random, self.random.choice
        key = pick((None, 1, 1, 2, 2, 3, 3, 4, 4, 11, 11, 12, 12, 13, 99))
        kind = "f" if key in (11, 12, 13) else "4"
        kind = pick("f46aw") if chance.random() < 0.1 else kind
        payloads: dict[str, tuple[int, Callable[[], bytes]]] = {
            "4": (0x0800, lambda: self._inner(0)),
            "6": (0x86DD, lambda: self._inner(0, six=True)),
            "f": (0x6558, lambda: self._frame(0)),
            "a": (0x88B5, lambda: bytes(chance.randrange(40))),
            "w": (0x883E, lambda: bytes(4) + self._inner(0)),
        }
        protocol, payload = payloads[kind]
        sequence = None
        if key in (2, 3, 4) or chance.random() < 0.05:
            self._sequence += 1
            sequence = self._sequence - pick((0, 0, 0, 1, 4, 20))
        csum = key == 2 if chance.random() < 0.9 else chance.random() < 0.5
        data = gre(
            payload(), protocol, key=key, sequence=sequence, csum=csum,
            flags=pick((0x4000, 0x0800, 1)) if chance.random() < 0.03 else 0,
        )  # fmt: skip
        return ipv4(
            pick((B, B, B, B, SILENT, A, "198.51.100.1")), pick((A, A, A, A, A, B)), data,
            protocol=pick((47, 47, 47, 47, 47, 47, 4)), tos=pick((0, 0, 3)), ttl=pick((1, 64)),
            fragment=185 if chance.random() < 0.02 else 0,
        )  # fmt: skip

    def _outer6(self) -> bytes:
        pick = self.random.choice
        data = gre(self._inner(0, six=pick((True, False))), pick((0x0800, 0x86DD)), key=pick((None, None, 5)))
        return ipv6(pick((B6, B6, "2001:db8::77")), A6, data, next_header=47)

    def _broken(self, data: bytes) -> bytes:
        chance = self.random
        if not data or chance.random() < 0.4:
            return data[: chance.randrange(len(data) + 1)]
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(min(len(changed), 80))] ^= 1 << chance.randrange(8)
        return bytes(changed)


def offload(data: bytes, segment_size: int, is_frame: bool) -> Offload:
    """The marks of a TCP super-packet as a TAP would have them."""
    if not segment_size:
        return Offload()
    network = 14 if is_frame else 0
    if is_frame and data[12:14] == b"\x81\x00":
        network += 4
    six = data[network] >> 4 == 6
    transport = network + (40 if six else (data[network] & 15) * 4)
    header_size = transport + (data[transport + 12] >> 4) * 4
    return Offload(True, transport, 16, 4 if six else 1, segment_size, header_size)


def everything(plane: Plane) -> dict[str, Any]:
    """All that a packet could change: counters, flows, learned addresses, states, limits, caches."""
    datapath, engine = plane.datapath, plane.engine
    members = [*datapath.ports.values(), *datapath.links.values()]
    numbers = [*(each.number for each in members), *datapath.forwarding.outlets]
    limits = datapath.icmp.limits
    states: dict[int, int] = {}
    for number in range(300):
        try:
            states[number] = engine.read_state(number)
        except OSError:
            break
    return {
        "ports": {number: (engine.port_stats(number), engine.port_drops(number)) for number in numbers},
        "flows": [(flow.id, flow.packets, flow.bytes, flow.used_ns) for flow in engine.dump(0)],
        "index": {key: (flow.match, flow.program) for key, flow in datapath.slowpath.index.flows.items()},
        "slowpath": (dict(datapath.slowpath.upcalls), datapath.slowpath.inserts),
        "held": dict(datapath.slowpath._held),
        "worker": engine.worker_stats(0),
        "stations": {
            bridge.name: {mac: (at.member, at.heard_ns) for mac, at in bridge.stations.items()}
            for bridge in datapath.forwarding.bridges.values()
        },
        "handlers": [
            (each.name, dict(each.verdicts), dict(each.errors), each.seconds, each.last_error,
             each.conduct.state, list(each.conduct.failures),
             [engine.read_counter(number) for number in each.counters.values()])
            for each in datapath.registry
        ],
        "links": {name: link.stats() for name, link in datapath.links.items()},
        "limits": (dict(limits._hosts), limits._credit, dict(limits.suppressed), dict(datapath.icmp.sent)),
        "states": states,
        "caches": (
            dict(datapath.identifications._states), len(datapath.cookies), dict(datapath.icmp._too_big),
            set(datapath.paths._known), set(datapath.paths._tasks), datapath.suppressed_messages,
        ),
        "counters": [(family.metric, list(family)) for family in datapath.counters],
    }  # fmt: skip


__all__ = ["INPUTS", "Traffic", "build", "builders", "everything", "offload"]
