"""Whatever changes, in whatever order: what is installed is what would be decided now.

Traffic and changes at random; after each change every flow is compared with a fresh trace
of its first packet, and the index with what the engine has.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest

from tests.plane import L2, L3, MAC_A, A, B, MakePlane, Plane
from vdp.config.model import RuleSection
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import compile_rule
from vdp.links.link import LinkError
from vdp.packet import Packet
from vdp.stages.pipeline import Egress
from vdp.testing.builders import ethernet, gre, ipv4, udp
from vdp.testing.paths import StaticPaths

REMOTES = (B, B, "192.0.2.9")
MACS = tuple(f"02:00:00:00:01:0{number}" for number in range(4))
INNER = (
    ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello")),
    ipv4("10.1.0.2", "10.0.0.9", udp(5, 6, bytes(1450))),
    ipv4("10.3.1.1", "10.9.9.9", udp(1, 2)),
)
MATCHES: tuple[dict[str, str], ...] = (
    {},
    {"in_port": "a"},
    {"in_port": "underlay"},
    {"ip_src": "10.0.0.0/24"},
    {"eth_type": "arp"},
)
ACTIONS = ("drop", "flood", "normal", "output:c", "output:g1", "output:t1")


def wall(packet: Packet, to: Egress) -> None:
    if to.name == "x":
        packet.drop("policy_rule")


class Changes:
    """A dataplane, and what may be done to it."""

    def __init__(self, plane: Plane, paths: StaticPaths, chance: random.Random) -> None:
        self.plane, self.paths, self.chance = plane, paths, chance
        self.datapath, self.forwarding = plane.datapath, plane.datapath.forwarding
        plane.port("underlay", L2, mac=MAC_A)
        for name in ("u2", "x", "y", "z"):
            plane.port(name, L3)
        for name in "abc":
            plane.port(name, L2)

    def all(self) -> tuple[Callable[[], None], ...]:
        return (
            self.add_link, self.add_link, self.remove_link, self.set_link, self.bridge, self.connect,
            self.rules, self.routes, self.port, self.path, self.addresses, self.age, self.stage,
        )  # fmt: skip

    def add_link(self) -> None:
        name = self.chance.choice(("g1", "g2", "t1", "t2"))
        options: dict[str, Any] = {"local": self.chance.choice((A, A, "0.0.0.0"))}
        options |= {"remote": self.chance.choice(REMOTES), "csum": self.chance.random() < 0.3}
        options |= {"key": 1} if self.chance.random() < 0.5 else {}
        if name not in self.datapath.links:
            kind = "gre" if name[0] == "g" else "gretap"
            try:
                self.plane.link(name, kind, self.chance.choice(("underlay", "u2", "x")), **options)
            except LinkError:
                return  # there is one like it

    def remove_link(self) -> None:
        if self.datapath.links:
            self.plane.remove_link(self.chance.choice(list(self.datapath.links)))

    def set_link(self) -> None:
        if self.datapath.links:
            name = self.chance.choice(list(self.datapath.links))
            self.datapath.set_link_up(name, self.chance.random() < 0.6)

    def bridge(self) -> None:
        if "br0" in self.forwarding.bridges:
            self.forwarding.remove_bridge("br0")
        else:
            self.plane.bridge("br0", *self.chance.sample(("a", "b", "c", "t1", "t2", "underlay"), 4))

    def connect(self) -> None:
        if self.forwarding._other_end:
            self.forwarding.disconnect(next(iter(self.forwarding._other_end)))
        else:
            self.plane.connect(*self.chance.sample(("x", "y", "z", "g1", "g2"), 2))

    def rules(self) -> None:
        sections = [
            {
                "priority": n,
                "match": self.chance.choice(MATCHES),
                "actions": [self.chance.choice(ACTIONS)],
            }
            for n in range(self.chance.choice((0, 0, 1, 2)))
        ]
        self.forwarding.rules = tuple(compile_rule(RuleSection.model_validate(one)) for one in sections)

    def routes(self) -> None:
        networks, members = ("10.0.0.0/8", "10.0.0.0/24", "0.0.0.0/0"), ("x", "y", "z", "g1", "g2")
        self.plane.route(
            *(
                Route(ip_network(self.chance.choice(networks)), self.chance.choice(members))
                for _ in range(self.chance.choice((0, 1, 2)))
            )
        )

    def port(self) -> None:
        name = self.chance.choice("bcyz")
        if name in self.datapath.ports:
            self.datapath.remove_port(name)
        else:
            self.plane.port(name, self.chance.choice((L2, L3)))

    def path(self) -> None:
        self.paths.mtu = self.chance.choice((1500, 1400, 9000))
        if self.chance.random() < 0.3:
            self.paths.unreachable ^= {IPv4Address(B)}
        if self.chance.random() < 0.3:
            self.paths.silent ^= {IPv4Address(self.chance.choice(REMOTES))}
        self.plane._runner.run(self.datapath.paths.refresh())

    def addresses(self) -> None:
        ours = frozenset([ip_address(A)]) if self.chance.random() < 0.5 else frozenset()
        self.datapath.host_addresses = lambda port: ours
        self.datapath.invalidate(*(("addresses", name) for name in self.datapath.ports))

    def age(self) -> None:
        self.plane.pass_time(self.chance.choice((1, 400)))
        self.datapath.slowpath.sweep(self.chance.choice((10, 1000)), self.chance.choice((5, 1000)))
        for bridge in self.forwarding.bridges.values():
            bridge.age(self.plane.engine.clock())

    def stage(self) -> None:
        pipeline = self.datapath.pipeline
        if any(stage.owner == "test" for stage in pipeline.stages):
            pipeline.remove_owner("test")
        else:
            pipeline.add(wall, priority=3, name="wall", owner="test")

    def traffic(self) -> None:
        for _ in range(self.chance.choice((1, 3, 8))):
            inner = self.chance.choice(INNER)
            frame = ethernet(
                inner, to=self.chance.choice((*MACS, "ff:ff:ff:ff:ff:ff")), origin=self.chance.choice(MACS)
            )
            payload, protocol = self.chance.choice(((inner, 0x0800), (frame, 0x6558)))
            key = 1 if self.chance.random() < 0.5 else None
            header = gre(payload, protocol, key=key, csum=self.chance.random() < 0.3)
            to = self.chance.choice((A, A, "192.0.2.7"))
            outer = ipv4(self.chance.choice(REMOTES), to, header, protocol=47)
            port = self.chance.choice([*self.datapath.ports, "underlay", "u2"])
            if port in ("underlay", "u2"):
                inner, frame = outer, ethernet(outer, to="02:00:00:00:00:0a")
            self.plane.arrive(port, frame if self.datapath.ports[port].packet_type is L2 else inner)


@pytest.mark.parametrize("seed", range(24))
def test_after_any_change_flows_are_as_they_would_be_decided_now(make_plane: MakePlane, seed: int) -> None:
    paths, chance = StaticPaths(), random.Random(seed)
    plane = make_plane(plugins=("gre", "gretap"), paths=paths, upcall_rate=0, action_rate=0)
    changes = Changes(plane, paths, chance)
    flows = 0
    for _ in range(40):
        changes.traffic()
        plane.settle()
        changes.traffic()
        plane.engine.poll()  # some wait for their answer meanwhile
        change = chance.choice(changes.all())
        change()
        plane.datapath.revalidate()
        plane.settle()
        plane.datapath.revalidate()
        index = plane.datapath.slowpath.index
        assert {id for _, id in index.flows} == {stats.id for stats in plane.engine.dump(0)}
        for flow in index.flows.values():
            trace, program = plane.datapath.trace(flow.match.in_port, flow.data, flow.length, flow.meta)
            assert (trace.match(), program) == (flow.match, flow.program), change.__name__
            assert trace.cacheable
        flows += len(index)
    assert flows > 40, "so few flows prove nothing"
