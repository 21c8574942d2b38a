"""A tunnel whose remote is a group: ipgre_open, ipgre_close, and what gre_cisco_rcv makes of our own."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from tests.links.test_life import used
from tests.links.test_receive import INNER, LOCAL, moved, outer
from tests.links.ways import Ways
from tests.plane import L2, L3, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.builders import ethernet, gre, ipv6, vlan
from vdp.testing.groups import StaticGroups

GROUP, OTHER = "239.1.1.1", "239.2.2.2"
ENDS = {"local": LOCAL, "remote": GROUP}
LOCAL6, GROUP6 = "2001:db8::1", "ff05::77"
KINDS = ["gre", "gretap", "ip6gre", "ip6gretap"]

Make = Callable[..., tuple[Plane, Ways]]


@pytest.fixture
def made(make_plane: MakePlane) -> Make:
    """A plane with an underlay whose ways to groups lead out by eth0, with index 2."""

    def make(plugins: tuple[str, ...] = ("gre", "gretap", "wccp", "ip6gre")) -> tuple[Plane, Ways]:
        by_eth0 = {ip_address(group): ("eth0", 2) for group in (GROUP, OTHER, GROUP6)}
        paths = Ways(leave_by=by_eth0)
        plane = make_plane(plugins, paths=paths)
        plane.port("underlay", L3)
        plane.port("lan", L3)
        return plane, paths

    return make


def groups(plane: Plane) -> StaticGroups:
    assert isinstance(plane.groups, StaticGroups)
    return plane.groups


def ends(kind: str) -> dict[str, Any]:
    return {"local": LOCAL6, "remote": GROUP6} if kind.startswith("ip6") else dict(ENDS)


def refresh(plane: Plane) -> None:
    """As when the kernel said that something changed."""
    plane._runner.run(plane.datapath.paths.refresh())


# -- open and close ----------------------------------------------------------------------------


@pytest.mark.conformance("B15", "B21")
@pytest.mark.parametrize("kind", KINDS)
def test_a_link_is_a_member_of_its_group_while_it_is_up(made: Make, kind: str) -> None:
    plane, _ = made()
    member = [("eth0", ends(kind)["remote"])]
    plane.link("link1", kind, **ends(kind))
    assert groups(plane).joined() == member
    plane.datapath.set_link_up("link1", False)
    assert groups(plane).joined() == []
    plane.datapath.set_link_up("link1", True)
    plane.datapath.set_link_up("link1", True)
    assert groups(plane).joined() == member
    plane.remove_link("link1")
    assert groups(plane).joined() == []


@pytest.mark.conformance("B21")
def test_a_link_that_is_made_down_joins_when_it_is_set_up(made: Make) -> None:
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS, up=False)
    assert groups(plane).joined() == []
    plane.datapath.set_link_up("gre1", True)
    assert groups(plane).joined() == [("eth0", GROUP)]


@pytest.mark.conformance("B21")
def test_links_of_one_group_are_members_each_for_itself(made: Make) -> None:
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS, key=1)
    plane.link("gre2", "gre", **ENDS, key=2)
    plane.remove_link("gre1")
    assert groups(plane).joined() == [("eth0", GROUP)]


def test_a_single_host_is_no_group(made: Make) -> None:
    plane, _ = made()
    plane.link("gre1", "gre", local=LOCAL, remote="192.0.2.2")
    assert groups(plane).joined() == []


@pytest.mark.conformance("B21")
@pytest.mark.parametrize(
    ("trouble", "words"),
    [("no way", "no way leads to the group 239.1.1.1"), ("no IP", "eth0 can not be a member of the group")],
)
def test_without_a_route_or_ip_on_the_device_there_is_no_link(made: Make, trouble: str, words: str) -> None:
    """EADDRNOTAVAIL, and nothing is left of it."""
    plane, paths = made()
    before = used(plane)
    if trouble == "no way":
        paths.unreachable.add(IPv4Address(GROUP))
    else:
        groups(plane).refusing.add("eth0")
    with pytest.raises(LinkError, match=words) as caught:
        plane.link("gre1", "gre", **ENDS)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert (plane.datapath.links, groups(plane).joined(), used(plane)) == ({}, [], before)
    paths.unreachable.clear()
    groups(plane).refusing.clear()
    refresh(plane)
    plane.link("gre1", "gre", **ENDS)
    assert groups(plane).joined() == [("eth0", GROUP)]


@pytest.mark.conformance("B21")
def test_a_link_that_can_not_join_stays_down(made: Make) -> None:
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS, up=False)
    groups(plane).refusing.add("eth0")
    with pytest.raises(LinkError):
        plane.datapath.set_link_up("gre1", True)
    assert not plane.datapath.links["gre1"].up


@pytest.mark.conformance("B15")
def test_a_group_needs_a_local_address(made: Make) -> None:
    plane, _ = made()
    with pytest.raises(ValueError, match="a multicast remote needs a local address"):
        plane.link("gre1", "gre", remote=GROUP)


# -- changelink --------------------------------------------------------------------------------


@pytest.mark.conformance("B21", "B22")
def test_another_remote_is_another_membership(made: Make) -> None:
    plane, _ = made()
    plane.link("gt1", "gretap", **ENDS)
    for remote, joined in ((OTHER, [("eth0", OTHER)]), ("192.0.2.2", []), (GROUP, [("eth0", GROUP)])):
        plane.change_link("gt1", local=LOCAL, remote=remote)
        assert groups(plane).joined() == joined
    plane.change_link("gt1", **ENDS, up=False)
    assert groups(plane).joined() == []


@pytest.mark.conformance("B21", "B22")
def test_a_change_to_a_group_that_can_not_be_joined_changes_nothing(made: Make) -> None:
    plane, paths = made()
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    paths.unreachable.add(IPv4Address(OTHER))
    with pytest.raises(LinkError) as caught:
        plane.change_link("gre1", local=LOCAL, remote=OTHER)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert groups(plane).joined() == [("eth0", GROUP)]
    plane.send("underlay", outer(gre(INNER), dst=GROUP))
    assert plane.received("lan") == [INNER]


# -- following the way -------------------------------------------------------------------------


@pytest.mark.conformance("B21")
def test_the_membership_follows_the_way_to_another_device(made: Make) -> None:
    plane, paths = made()
    plane.link("gre1", "gre", **ENDS)
    paths.leave_by[IPv4Address(GROUP)] = ("eth1", 3)
    refresh(plane)
    assert groups(plane).joined() == [("eth1", GROUP)]


@pytest.mark.conformance("B21")
def test_a_device_that_was_made_anew_is_joined_anew(made: Make) -> None:
    """The kernel forgets a device's members with it; the new one has another index."""
    plane, paths = made()
    plane.link("gre1", "gre", **ENDS)
    (first,) = groups(plane).members
    paths.unreachable.add(IPv4Address(GROUP))
    refresh(plane)
    assert groups(plane).joined() == [("eth0", GROUP)], "mlink stays as it was"
    paths.unreachable.clear()
    paths.leave_by[IPv4Address(GROUP)] = ("eth0", 9)
    refresh(plane)
    assert groups(plane).joined() == [("eth0", GROUP)]
    assert groups(plane).members != [first]


@pytest.mark.conformance("B21")
def test_a_device_that_refuses_is_said_and_asked_again(made: Make, caplog: pytest.LogCaptureFixture) -> None:
    plane, paths = made()
    plane.link("gre1", "gre", **ENDS)
    groups(plane).refusing.add("eth1")
    paths.leave_by[IPv4Address(GROUP)] = ("eth1", 3)
    refresh(plane)
    assert groups(plane).joined() == []
    assert "link gre1: eth1 can not be a member of the group 239.1.1.1" in caplog.text
    groups(plane).refusing.clear()
    paths.mtu = 1400
    refresh(plane)
    assert groups(plane).joined() == [("eth1", GROUP)]


def test_a_link_that_is_down_follows_nothing(made: Make) -> None:
    plane, paths = made()
    plane.link("gre1", "gre", **ENDS)
    plane.datapath.set_link_up("gre1", False)
    paths.leave_by[IPv4Address(GROUP)] = ("eth1", 3)
    refresh(plane)
    assert groups(plane).joined() == []
    plane.datapath.set_link_up("gre1", True)
    assert groups(plane).joined() == [("eth1", GROUP)]


# -- received ----------------------------------------------------------------------------------


@pytest.mark.conformance("E1", "J")
def test_what_comes_to_the_group_counts_as_multicast(made: Make) -> None:
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    plane.send("underlay", outer(gre(INNER), dst=GROUP), outer(gre(INNER), dst=GROUP, src="192.0.2.77"))
    assert plane.received("lan") == [INNER] * 2
    assert moved(plane, "gre1") == {"multicast": 2, "rx_packets": 2, "rx_bytes": 2 * len(INNER)}


@pytest.mark.conformance("E1", "J")
def test_multicast_counts_before_anything_can_be_wrong(made: Make) -> None:
    """ip_tunnel_rcv's order."""
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS)
    plane.send("underlay", outer(gre(INNER, csum=True), dst=GROUP))
    assert moved(plane, "gre1") == {"multicast": 1, "rx_errors": 1, "rx_crc_errors": 1}


@pytest.mark.conformance("C4")
@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("underlay", [L2, L3])
def test_our_own_packet_to_the_group_does_not_come_back(
    make_plane: MakePlane, underlay: Any, tagged: bool
) -> None:
    plane = make_plane()
    plane.port("underlay", underlay)
    plane.port("lan", L3)
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    plane.send("lan", INNER)
    (sent,) = plane.received("underlay")
    back = vlan(sent, 0) if tagged and underlay is L2 else sent
    plane.send("underlay", back, back)
    assert plane.drops("underlay") == {"tunnel_loopback": 2}
    assert plane.received("lan") == []
    assert {name: n for name, n in moved(plane, "gre1").items() if not name.startswith("tx")} == {}


@pytest.mark.conformance("C4")
def test_an_address_of_another_link_or_of_the_host_is_our_own_too(made: Make) -> None:
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS)
    plane.link("gre2", "gre", local="192.0.2.50", remote="192.0.2.51")
    plane.connect("lan", "gre1")
    ours = frozenset({ip_address("192.0.2.60"), ip_address("2001:db8::1")})
    plane.datapath.host_addresses = lambda port: ours
    plane.send("underlay", *(outer(gre(INNER), dst=GROUP, src=f"192.0.2.{n}") for n in (50, 60, 61)))
    assert plane.drops("underlay") == {"tunnel_loopback": 2}
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("C4")
def test_our_own_is_what_it_is_now(made: Make) -> None:
    """Flows are decided anew when an address comes or goes."""
    plane, _ = made()
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    packet = outer(gre(INNER), dst=GROUP, src="192.0.2.60")
    plane.send("underlay", packet)
    assert plane.received("lan") == [INNER]
    plane.datapath.host_addresses = lambda port: frozenset({ip_address("192.0.2.60")})
    plane.datapath.invalidate(("addresses", "underlay"))
    plane.settle()
    plane.send("underlay", packet)
    assert plane.received("lan") == []
    assert plane.drops("underlay") == {"tunnel_loopback": 1}


@pytest.mark.conformance("C4")
def test_our_own_packet_to_an_ipv6_group_does_not_come_back(made: Make) -> None:
    plane, _ = made()
    plane.link("link1", "ip6gre", local=LOCAL6, remote=GROUP6)
    plane.connect("lan", "link1")
    for source in (LOCAL6, "2001:db8::9"):
        plane.send("underlay", ipv6(source, GROUP6, gre(INNER), next_header=47))
    assert plane.received("lan") == [INNER]
    assert plane.drops("underlay") == {"tunnel_loopback": 1}


@pytest.mark.conformance("B21")
def test_a_frame_to_the_group_s_address_is_taken_on_an_ethernet_underlay(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L2, mac=bytes.fromhex("02000000000b"))
    plane.port("lan", L3)
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    plane.send("underlay", ethernet(outer(gre(INNER), dst=GROUP), to="01:00:5e:01:01:01"))
    assert plane.received("lan") == [INNER]
