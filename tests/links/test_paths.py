"""The cache of ways when the kernel refuses an answer: one way's trouble is no other's."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from tests.plane import L2, L3, A, B, MakePlane
from vdp.netlink.events import IPAddress
from vdp.netlink.path import KernelRefused, Path
from vdp.ports.port import Port
from vdp.testing.builders import ipv4, udp
from vdp.testing.paths import StaticPaths

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
OTHER = "192.0.2.3"


@dataclass
class Refusing(StaticPaths):
    """`refused`: destinations about which every request fails."""

    refused: set[IPAddress] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def _ask(self, what: str, destination: IPAddress) -> None:
        self.asked.append(f"{what} {destination}")
        if destination in self.refused:
            raise KernelRefused(what, errno.EIO, "no")

    async def find(
        self,
        port: Port,
        destination: IPAddress,
        source: IPAddress | None,
        tos: int,
        device: str | None = None,
    ) -> Path:
        self._ask("find", destination)
        return await super().find(port, destination, source, tos, device)

    async def resolve(self, port: Port, path: Path) -> bool:
        self.asked.append(f"resolve {path.next_hop}")
        raise KernelRefused("resolve", errno.EIO, "no")

    async def keep(self, port: Port, path: Path) -> None:
        self._ask("keep", path.next_hop)


def test_a_way_that_is_refused_leaves_the_others_fresh_and_kept(make_plane: MakePlane) -> None:
    paths = Refusing()
    plane = make_plane(paths=paths)
    plane.port("underlay", L2)
    for name, remote in (("one", B), ("two", OTHER)):
        plane.link(name, "gre", local=A, remote=remote)
    paths.refused.add(IPv4Address(B))
    paths.asked.clear()
    plane._runner.run(plane.datapath.paths.keep())
    paths.mtu = 1400
    plane._runner.run(plane.datapath.paths.refresh())
    assert paths.asked == [f"keep {B}", f"keep {OTHER}", f"find {B}", f"find {OTHER}"]
    assert plane.datapath.links["two"].mtu == 1400 - 24


def test_a_next_hop_that_is_refused_is_not_asked_for_with_every_packet(make_plane: MakePlane) -> None:
    paths = Refusing(silent={IPv4Address(B)})
    plane = make_plane(paths=paths)
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    for _ in range(5):
        plane.send("lan", INNER)
    assert paths.asked.count(f"resolve {B}") == 1
    assert plane.stats("lan").held == 5


def test_a_way_that_no_link_is_bound_to_any_more_is_asked_for_no_longer(make_plane: MakePlane) -> None:
    """Links come and go: what is refreshed is what those use that are there."""
    paths = Refusing()
    plane = make_plane(paths=paths)
    plane.port("underlay", L3)
    plane.link("one", "gre", local=A, remote=B)
    plane.link("two", "gre", local=A, remote=B, key=2)
    plane.link("three", "gre", local=A, remote=OTHER)

    def asked() -> list[str]:
        plane.datapath.forget_unused_paths()
        paths.asked.clear()
        plane._runner.run(plane.datapath.paths.refresh())
        return paths.asked

    assert asked() == [f"find {B}", f"find {OTHER}"]
    plane.change_link("three", local=A, remote="192.0.2.4")
    plane.change_link("one", local=A, remote=B, ttl=9)
    assert asked() == [f"find {B}", "find 192.0.2.4"]
    plane.remove_link("one")
    assert asked() == [f"find {B}", "find 192.0.2.4"]
    plane.remove_link("two")
    assert asked() == ["find 192.0.2.4"]
