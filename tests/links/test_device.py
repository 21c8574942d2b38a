"""What `ip link` would show of a link: MTU bounds, flags, addresses, and the room it needs in front."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import ValidationError

from tests.plane import L3, A, B, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.paths import StaticPaths

ENDS = {"local": A, "remote": B}
#: 0xFFF8 less outer IP, GRE header and, of frames, Ethernet.
MOST = [
    ("gre", {}, 65504), ("gre", {"key": 1}, 65500), ("gre", {"key": 1, "csum": True, "seq": True}, 65492),
    ("gre", {"ikey": 1, "icsum": True}, 65504), ("gretap", {}, 65490), ("gretap", {"key": 1}, 65486),
]  # fmt: skip


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    return plane


# -- change_mtu ------------------------------------------------------------------------------


@pytest.mark.conformance("B24")
@pytest.mark.parametrize(("kind", "extra", "most"), MOST, ids=str)
def test_an_mtu_is_68_to_what_headers_leave_of_the_largest_packet(
    plane: Plane, kind: str, extra: dict[str, Any], most: int
) -> None:
    """In a configuration, and while the link lives (ip_tunnel_change_mtu: EINVAL)."""
    link = plane.link("link1", kind, **ENDS, **extra, mtu=most)
    assert link.mtu == most
    for mtu in (67, most + 1, 65535, 0, -1):
        with pytest.raises(LinkError, match=f"mtu is {mtu}, expected 68 to {most}") as caught:
            plane.datapath.set_link_mtu("link1", mtu)
        assert caught.value.errno == errno.EINVAL
        assert link.mtu == most
        with pytest.raises(ValidationError, match="mtu"):
            plane.link("link2", kind, local=A, remote="192.0.2.9", **extra, mtu=mtu)
    plane.datapath.set_link_mtu("link1", 68)
    assert link.mtu == 68


@pytest.mark.conformance("B24")
def test_the_message_says_what_was_found_and_what_would_do(plane: Plane) -> None:
    with pytest.raises(
        ValidationError, match="mtu is 65505, expected 68 to 65504: 65528 less 24 bytes of headers"
    ):
        plane.link("link1", "gre", **ENDS, mtu=65505)


@pytest.mark.conformance("B24", "L18")
def test_over_ipv6_the_headers_are_larger(make_plane: MakePlane) -> None:
    plane = make_plane(plugins=("ip6gre",))
    plane.port("underlay", L3)
    ends = {"local": "2001:db8::1", "remote": "2001:db8::2"}
    assert plane.link("one", "ip6gre", **ends, mtu=0xFFF8 - 52).mtu == 65476
    with pytest.raises(ValidationError, match="expected 68 to 65480"):
        plane.link("two", "ip6gre", **ends, key=1, encaplimit="none", mtu=65481)


@pytest.mark.conformance("B24", "B9")
@pytest.mark.parametrize(
    ("underlay", "mtu"), [(65528, 65504), (65529, 65504), (65536, 65504), (65527, 65503)]
)
def test_a_computed_mtu_has_the_same_bound(make_plane: MakePlane, underlay: int, mtu: int) -> None:
    """A way over the loopback device has 65536."""
    plane = make_plane(paths=StaticPaths(mtu=underlay))
    plane.port("underlay", L3)
    assert plane.link("link1", "gre", **ENDS).mtu == mtu


@pytest.mark.conformance("B24")
def test_a_changed_mtu_stays_when_the_way_changes(plane: Plane) -> None:
    link = plane.link("link1", "gre", **ENDS)
    plane.datapath.set_link_mtu("link1", 1000)
    assert isinstance(plane.paths, StaticPaths)
    plane.paths.mtu = 1280
    plane._runner.run(plane.datapath.paths.refresh())
    assert link.mtu == 1000


# -- flags and addresses ---------------------------------------------------------------------


@pytest.mark.conformance("B11", "B14", "B15", "B16")
@pytest.mark.parametrize(
    ("kind", "ends", "flags"),
    [
        ("gre", ENDS, ["POINTOPOINT", "NOARP", "UP"]), ("gre", {"local": A}, ["NOARP", "UP"]),
        ("gre", {"local": A, "remote": "239.1.1.1"}, ["BROADCAST", "POINTOPOINT", "UP"]),
        ("gre", {**ENDS, "up": False}, ["POINTOPOINT", "NOARP"]),
        ("gretap", ENDS, ["BROADCAST", "MULTICAST", "UP"]),
        ("gretap", {"local": A}, ["BROADCAST", "MULTICAST", "UP"]),
    ],
    ids=str,
)  # fmt: skip
def test_flags_are_those_of_the_device(
    plane: Plane, kind: str, ends: dict[str, Any], flags: list[str]
) -> None:
    assert plane.link("link1", kind, **ends).fill_info()["flags"] == flags


@pytest.mark.conformance("B14")
def test_an_l3_device_has_its_ends_for_addresses(plane: Plane) -> None:
    info = plane.link("link1", "gre", **ENDS).fill_info()
    assert (info["address"], info["broadcast"]) == (A, B)
    info = plane.link("link2", "gre", local=A).fill_info()
    assert (info["address"], info["broadcast"]) == (A, "0.0.0.0")


@pytest.mark.conformance("B8", "B3")
def test_a_link_of_frames_has_a_random_mac_of_its_own_for_as_long_as_it_lives(plane: Plane) -> None:
    found = {
        plane.link(f"t{n}", "gretap", local=A, remote=f"192.0.2.{n}").fill_info()["address"]
        for n in range(9, 40)
    }
    assert len(found) == 31
    for text in found:
        first = int(text[:2], 16)
        assert first & 3 == 2, "one station's, locally administered"
    before = plane.datapath.links["t9"].fill_info()["address"]
    plane.change_link("t9", local=A, remote="192.0.2.9", key=5)
    assert plane.datapath.links["t9"].fill_info()["address"] == before
    assert plane.datapath.links["t9"].fill_info()["broadcast"] == "ff:ff:ff:ff:ff:ff"


@pytest.mark.conformance("B3", "B8")
def test_a_mac_that_is_given_is_taken(plane: Plane) -> None:
    link = plane.link("link1", "gretap", **ENDS, mac="02-00-00-00-00-AA")
    assert link.fill_info()["address"] == "02:00:00:00:00:aa"
    plane.change_link("link1", **ENDS, mac="02:00:00:00:00:bb")
    assert link.fill_info()["address"] == "02:00:00:00:00:bb"


@pytest.mark.conformance("B3")
@pytest.mark.parametrize("mac", ["01:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00", "nothing", 5])
def test_a_mac_must_be_one_stations(plane: Plane, mac: object) -> None:
    with pytest.raises(ValidationError, match="mac"):
        plane.link("link1", "gretap", **ENDS, mac=mac)


@pytest.mark.conformance("B3")
def test_what_carries_no_frames_has_no_mac(plane: Plane) -> None:
    with pytest.raises(ValidationError, match="mac"):
        plane.link("link1", "gre", **ENDS, mac="02:00:00:00:00:aa")


# -- headroom --------------------------------------------------------------------------------


@pytest.mark.conformance("B13")
def test_headroom_is_for_its_headers_and_the_link_header_under_them(make_plane: MakePlane) -> None:
    paths = StaticPaths(unreachable={IPv4Address("192.0.2.9")})
    plane = make_plane(paths=paths)
    plane.port("underlay", L3)
    room = lambda name: plane.datapath.links[name].fill_info()["needed_headroom"]  # noqa: E731
    plane.link("plain", "gre", **ENDS)
    plane.link("all", "gre", **ENDS, key=1, csum=True, seq=True)
    plane.link("frames", "gretap", **ENDS)
    plane.link("nowhere", "gre", local=A, remote="192.0.2.9")
    assert [room(name) for name in ("plain", "all", "frames", "nowhere")] == [38, 50, 38, 152]
