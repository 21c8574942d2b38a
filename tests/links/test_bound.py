"""`link`: a tunnel that is bound to a device (IFLA_GRE_LINK): its way, its MTU, and who is asked first."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.plane import L3, A, B, MakePlane, Plane
from vdp.engine.interface import LEAVE_BY, META_DEVICE, MemoryPacket
from vdp.links.link import LinkError
from vdp.links.paths import Device
from vdp.testing.builders import gre, ipv4, ipv6, udp
from vdp.testing.paths import StaticPaths

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
C = "192.0.2.3"
DEVICES = {"eth0": Device(5, 1500, 14), "eth1": Device(7, 1400, 14), "ppp0": Device(9, 1492, 0)}
ENDS = {"local": A, "remote": B}


@pytest.fixture
def paths() -> StaticPaths:
    return StaticPaths(devices=dict(DEVICES), mtu=9000)


@pytest.fixture
def plane(make_plane: MakePlane, paths: StaticPaths) -> Plane:
    plane = make_plane(paths=paths)
    plane.port("underlay", L3)
    plane.port("lan", L3)
    return plane


def word(packet: MemoryPacket) -> int:
    return int.from_bytes(packet.meta[4 * META_DEVICE :][:4], "big")


def comes_by(plane: Plane, device: int, source: str = B, destination: str = A, **options: Any) -> str:
    """Which link takes a packet that a device of that index received."""
    before = {name: plane.counters(name)["rx_packets"] for name in plane.datapath.links}
    meta = bytearray(32)
    meta[3], meta[4:8], meta[28:] = L3, b"\0\0\x08\0", device.to_bytes(4, "big")
    data = ipv4(source, destination, gre(INNER, **options), protocol=47)
    plane.engine.inject(plane.datapath.ports["underlay"].number, MemoryPacket(data, bytes(meta)))
    plane.settle()
    took = [name for name in before if plane.counters(name)["rx_packets"] > before[name]]
    return "".join(took)


# -- sending ---------------------------------------------------------------------------------


@pytest.mark.conformance("B10")
def test_the_way_is_asked_for_by_that_device_and_the_packet_told_to_leave_by_it(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS, link="eth1")
    plane.connect("lan", "gre1")
    plane.send("lan", INNER)
    (packet,) = plane.collect("underlay")
    assert word(packet) == LEAVE_BY | 7


def test_one_that_is_not_bound_leaves_as_the_route_says(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    plane.send("lan", INNER)
    assert [word(packet) for packet in plane.collect("underlay")] == [0]


@pytest.mark.conformance("B9", "B10")
def test_the_mtu_is_that_of_the_way_by_the_device(plane: Plane) -> None:
    assert [plane.link(f"t{n}", "gre", **ENDS, link=n).mtu for n in DEVICES] == [1476, 1376, 1468]
    assert plane.link("t", "gre", **ENDS).mtu == 8976


@pytest.mark.conformance("B12")
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_without_a_route_the_mtu_is_that_of_the_device(plane: Plane, paths: StaticPaths, kind: str) -> None:
    paths.unreachable = {IPv4Address(B)}
    frame = 14 if kind == "gretap" else 0
    assert plane.link("one", kind, **ENDS, link="eth1").mtu == 1400 - 24 - frame
    assert plane.link("any", kind, local=A, link="ppp0").mtu == 1492 - 24 - frame
    assert plane.link("two", kind, local=A, remote=B).mtu == 1500 - 24 - frame


@pytest.mark.conformance("B22", "B12")
def test_the_mtu_follows_the_device(plane: Plane, paths: StaticPaths) -> None:
    paths.unreachable = {IPv4Address(B)}
    link = plane.link("gre1", "gre", **ENDS, link="eth1")
    paths.devices["eth1"] = Device(7, 1300, 14)
    plane._runner.run(plane.datapath.paths.refresh())
    assert link.mtu == 1276
    paths.devices.pop("eth1")
    plane._runner.run(plane.datapath.paths.refresh())
    assert (link.mtu, link.fill_info()["iflink"]) == (1476, 0)


@pytest.mark.conformance("B22")
def test_another_link_binds_it_anew(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS, link="eth0")
    plane.connect("lan", "gre1")
    plane.change_link("gre1", **ENDS, link="eth1")
    plane.send("lan", INNER)
    assert [word(packet) for packet in plane.collect("underlay")] == [LEAVE_BY | 7]
    assert plane.datapath.links["gre1"].mtu == 1376


@pytest.mark.conformance("B12", "B7")
def test_a_device_that_is_not_there_is_refused(plane: Plane) -> None:
    with pytest.raises(LinkError, match="there is no device eth9 to bind it to") as caught:
        plane.link("gre1", "gre", **ENDS, link="eth9")
    assert caught.value.errno == errno.ENODEV
    assert plane.datapath.links == {}
    plane.link("gre1", "gre", **ENDS)
    with pytest.raises(LinkError):
        plane.change_link("gre1", **ENDS, link="eth9")
    assert plane.datapath.links["gre1"].fill_info()["link"] is None
    assert comes_by(plane, 5) == "gre1"


@pytest.mark.conformance("B26")
def test_what_it_is_bound_to_is_shown(plane: Plane) -> None:
    info = plane.link("gre1", "gre", **ENDS, link="eth1").fill_info()
    assert (info["link"], info["iflink"], info["interface"]) == ("eth1", 7, "eth1")
    info = plane.link("gre2", "gre", **ENDS).fill_info()
    assert (info["link"], info["iflink"], info["interface"]) == (None, 0, "underlay")


# -- receiving -------------------------------------------------------------------------------


@pytest.mark.conformance("B6", "D6")
def test_links_that_differ_only_in_the_device_live_side_by_side(plane: Plane) -> None:
    for name in ("eth0", "eth1"):
        plane.link(f"by-{name}", "gre", **ENDS, link=name)
    plane.link("unbound", "gre", **ENDS)
    with pytest.raises(
        LinkError, match="by-eth1 has the same local, remote, key, device and underlay"
    ) as caught:
        plane.link("again", "gre", **ENDS, link="eth1")
    assert caught.value.errno == errno.EEXIST
    assert [comes_by(plane, device) for device in (5, 7)] == ["by-eth0", "by-eth1"]


@pytest.mark.conformance("D6")
def test_one_bound_to_the_device_wins_over_a_more_exact_one_that_is_not(plane: Plane) -> None:
    """Each pass gives a candidate at best; only the device ends the search."""
    plane.link("both", "gre", **ENDS)
    plane.link("remote", "gre", remote=B, link="eth1")
    plane.link("none", "gre", link="eth0")
    assert [comes_by(plane, device) for device in (7, 5, 9)] == ["remote", "none", "both"]


@pytest.mark.conformance("D6")
def test_one_bound_elsewhere_is_a_candidate_as_any(plane: Plane) -> None:
    plane.link("both", "gre", **ENDS, link="eth0")
    plane.link("remote", "gre", remote=B)
    assert comes_by(plane, 7) == "both"
    plane.datapath.set_link_up("both", False)
    assert comes_by(plane, 7) == "remote"


@pytest.mark.conformance("D6")
def test_of_candidates_of_the_first_pass_the_oldest_is_taken_of_later_ones_the_newest(plane: Plane) -> None:
    for name in ("eth0", "eth1"):
        plane.link(f"both-{name}", "gre", **ENDS, link=name)
        plane.link(f"local-{name}", "gre", local=A, link=name)
    assert comes_by(plane, 9) == "both-eth0"
    assert comes_by(plane, 9, source=C) == "local-eth1"


@pytest.mark.conformance("D6")
def test_the_device_is_looked_at_only_where_some_tunnel_is_bound(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS)
    assert comes_by(plane, 5) == "gre1"
    before = plane.upcalls
    assert comes_by(plane, 7) == "gre1"
    assert plane.upcalls == before, "one flow for all devices"
    plane.link("gre2", "gre", **ENDS, link="eth1")
    assert [comes_by(plane, device) for device in (5, 7, 5)] == ["gre1", "gre2", "gre1"]


@pytest.mark.conformance("D6", "D8")
def test_a_fallback_comes_after_links_that_are_bound_elsewhere(plane: Plane) -> None:
    plane.link("gre0", "gre", fallback=True)
    plane.link("keyed", "gre", key=3, link="eth0")
    assert [comes_by(plane, device, key=3) for device in (5, 7)] == ["keyed", "keyed"]
    assert comes_by(plane, 7, key=4) == "gre0"


@pytest.mark.conformance("D6", "L18")
def test_over_ipv6_it_is_the_same_but_for_the_order_of_candidates(make_plane: MakePlane) -> None:
    plane = make_plane(plugins=("ip6gre",), paths=StaticPaths(devices=dict(DEVICES)))
    plane.port("underlay", L3)
    ends = {"local": "2001:db8::1", "remote": "2001:db8::2"}
    for name in ("eth0", "eth1"):
        plane.link(f"by-{name}", "ip6gre", **ends, link=name)
    packet = ipv6(ends["remote"], ends["local"], gre(INNER, key=0), next_header=47)
    for device, taker in ((5, "by-eth0"), (7, "by-eth1"), (9, "by-eth1")):
        before = plane.counters(taker)["rx_packets"]
        meta = bytearray(32)
        meta[3], meta[6:8], meta[31] = L3, b"\x86\xdd", device
        plane.engine.inject(plane.datapath.ports["underlay"].number, MemoryPacket(packet, bytes(meta)))
        plane.settle()
        assert plane.counters(taker)["rx_packets"] == before + 1
