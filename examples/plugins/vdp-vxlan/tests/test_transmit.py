"""What VXLAN links send, and where to."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet as Scapy
from vdp.api import PacketType
from vdp.testing import Dataplane, StaticPaths, check_soundness
from vdp.testing.builders import ethernet, ipv4, tcp, udp

from vdp_vxlan.samples import (
    ANSWER,
    FAR,
    LOCAL,
    LOCAL6,
    MANY,
    NEAR,
    OTHER,
    QUESTION,
    REMOTE,
    REMOTE6,
    datagram,
    packet,
    samples,
)

GROUP = "239.1.1.1"
BROADCAST = ethernet(ipv4("10.0.0.1", "10.255.255.255", udp(1, 2)), to="ff:ff:ff:ff:ff:ff", origin=NEAR)


@pytest.fixture
def ready(plane: Dataplane) -> Dataplane:
    """The topology of the samples."""
    list(samples(plane))
    return plane


def link(plane: Dataplane, **options: Any) -> Any:
    """A link `vx` and a LAN, bridged."""
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L2)
    known: dict[str, Any] = {"local": LOCAL, "vni": MANY}
    made = plane.link("vx", "vxlan", **known | options)
    plane.bridge("br0", "lan", "vx")
    return made


def sent(plane: Dataplane, *frames: bytes) -> list[Scapy]:
    """What leaves by the underlay for these frames of the LAN, as scapy reads it."""
    plane.send("lan", *frames)
    return [(IP if data[0] >> 4 == 4 else IPv6)(data) for data in plane.received("underlay")]


def remotes(plane: Dataplane, *frames: bytes) -> list[str]:
    return sorted(made.dst for made in sent(plane, *frames))


def test_scapy_reads_what_is_sent(ready: Dataplane) -> None:
    (made,) = sent(ready, QUESTION)
    assert (made.src, made.dst, made.ttl, made.flags) == (LOCAL, REMOTE, 64, "DF")
    assert (made[UDP].dport, made[UDP].chksum, made[UDP].len) == (4789, 0, 16 + len(QUESTION))
    assert 49152 <= made[UDP].sport <= 65535
    assert (made[VXLAN].vni, int(made[VXLAN].flags), made[VXLAN].reserved1) == (42, 8, 0)
    assert bytes(made[Ether]) == QUESTION


def test_over_ipv6_with_a_checksum_and_without_options(ready: Dataplane) -> None:
    ready.send("lan6", QUESTION)
    (made,) = [IPv6(data) for data in ready.received("underlay")]
    assert (made.src, made.dst, made.nh) == (LOCAL6, REMOTE6, 17)
    assert made[UDP].chksum
    again = made.copy()
    del again[UDP].chksum
    assert IPv6(bytes(again))[UDP].chksum == made[UDP].chksum
    assert bytes(made[Ether]) == QUESTION


def test_the_source_port_tells_flows_apart_and_costs_no_megaflow(ready: Dataplane) -> None:
    def flow(port: int) -> bytes:
        return ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(port, 80)), to=FAR, origin=NEAR)

    sent(ready, flow(1))
    seen = ready.upcalls
    ports = [made[UDP].sport for made in sent(ready, *map(flow, range(1000, 1064)))]
    assert len(set(ports)) > 50
    assert ports == [made[UDP].sport for made in sent(ready, *map(flow, range(1000, 1064)))]
    assert ready.upcalls == seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ttl": 9, "tos": 0x48}, {"ttl": 9, "tos": 0x48}),
        ({"ttl": "inherit", "tos": "inherit"}, {"ttl": 77, "tos": 0x28}),
        ({"dstport": 8472, "srcport": 8472}, {"sport": 8472, "dport": 8472}),
        ({"pmtudisc": False, "ignore_df": True}, {"flags": 0}),
        ({"vni": 0xFFFFFF}, {"vni": 0xFFFFFF}),
        ({"local": "192.0.2.77"}, {"src": "192.0.2.77"}),
    ],
    ids=lambda value: "-".join(value),
)
def test_options_are_those_of_ip_link(plane: Dataplane, options: Any, expected: dict[str, Any]) -> None:
    link(plane, **({"remote": REMOTE} | options))
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), ttl=77, tos=0x28), to=FAR, origin=NEAR)
    (made,) = sent(plane, frame)
    assert {name: getattr(made, name) for name in expected} == expected


def test_a_checksum_on_request(plane: Dataplane) -> None:
    link(plane, remote=REMOTE, udpcsum=True)
    (made,) = sent(plane, QUESTION)
    again = made.copy()
    del again[UDP].chksum
    assert made[UDP].chksum == IP(bytes(again))[UDP].chksum != 0


@pytest.mark.parametrize(("inner", "outer"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_the_outer_ecn_field_is_made_of_the_inner(ready: Dataplane, inner: int, outer: int) -> None:
    """RFC 6040 section 4.1, normal mode, with Linux's ECT(0) for CE."""
    (made,) = sent(ready, ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), tos=inner), to=FAR, origin=NEAR))
    assert made.tos == outer


def test_the_mtu_is_what_the_way_leaves(make_plane: Any) -> None:
    assert link(make_plane("vxlan")).mtu == 1450
    assert link(make_plane("vxlan", paths=StaticPaths(mtu=9000)), remote=REMOTE).mtu == 8950


# -- many VTEPs ------------------------------------------------------------------------------


def test_to_all_vteps_until_the_station_is_known(plane: Dataplane) -> None:
    link(plane, remote=REMOTE, flood=[OTHER, "192.0.2.4"])
    sent(plane, BROADCAST, QUESTION)  # the ways there are asked for
    every = [REMOTE, OTHER, "192.0.2.4"]
    assert remotes(plane, QUESTION) == every
    plane.send("underlay", packet(vni=MANY, vtep=OTHER))
    assert plane.received("lan") == [ANSWER]
    assert remotes(plane, QUESTION) == [OTHER]
    assert remotes(plane, BROADCAST) == every
    assert plane.counters("vx")["tx_packets"] == 2 + 3 + 1 + 3


def test_a_station_that_moves_is_followed_at_once(plane: Dataplane) -> None:
    link(plane, remote=REMOTE, flood=[OTHER])
    for vtep in (REMOTE, OTHER, REMOTE):
        plane.send("underlay", packet(vni=MANY, vtep=vtep))
        assert remotes(plane, QUESTION) == [vtep]


def test_a_learned_address_ages_unless_it_is_heard(plane: Dataplane) -> None:
    made = link(plane, remote=REMOTE, flood=[OTHER], ageing=60)
    plane.send("underlay", packet(vni=MANY, vtep=OTHER))
    plane.pass_time(50)
    plane.send("underlay", packet(vni=MANY, vtep=OTHER))  # the fast path's: nobody upcalls
    plane.pass_time(50)
    assert remotes(plane, QUESTION) == [OTHER]
    plane.pass_time(100)
    assert made.fdb.entries == {}
    assert remotes(plane, QUESTION) == [REMOTE, OTHER]


def test_no_more_is_learned_than_there_is_room_for(plane: Dataplane) -> None:
    made = link(plane, remote=REMOTE, flood=[OTHER], maxaddress=2)
    frames = [ethernet(b"", origin=f"02:00:00:00:01:0{number}") for number in range(5)]
    plane.send("underlay", *[packet(frame, vni=MANY) for frame in frames])
    assert len(made.fdb.entries) == 2


@pytest.mark.parametrize("learning", [True, False])
def test_configured_stations_are_where_they_are_said_to_be(plane: Dataplane, learning: bool) -> None:
    link(plane, fdb={FAR: OTHER}, learning=learning)
    sent(plane, QUESTION)  # the way there is asked for
    assert remotes(plane, QUESTION) == [OTHER]
    assert remotes(plane, BROADCAST) == []
    assert plane.drops("lan")["plugin_vxlan_no_remote"] == 1
    plane.send("underlay", packet(vni=MANY, vtep=OTHER), packet(vni=MANY, vtep=REMOTE))
    assert plane.drops("underlay") == ({"plugin_vxlan_source": 1} if learning else {})


def test_without_learning_all_is_flooded(plane: Dataplane) -> None:
    link(plane, remote=REMOTE, flood=[OTHER], learning=False)
    sent(plane, QUESTION)  # the ways are asked for
    plane.send("underlay", packet(vni=MANY, vtep=OTHER))
    assert remotes(plane, QUESTION) == [REMOTE, OTHER]


def test_a_group_is_flooded_to_and_its_members_are_learned(plane: Dataplane) -> None:
    """RFC 7348 section 4.2: to the group first, then to the VTEP that answered."""
    link(plane, remote=GROUP)
    (made,) = sent(plane, QUESTION)
    assert (made.dst, made[VXLAN].vni) == (GROUP, MANY)
    plane.send("underlay", ipv4(OTHER, GROUP, datagram(BROADCAST, valid=1, vni=MANY)))
    assert plane.received("lan") == [BROADCAST]
    assert plane.counters("vx")["multicast"] == 1
    plane.send("underlay", packet(vni=MANY, vtep=REMOTE))
    assert remotes(plane, QUESTION) == [REMOTE]


def test_it_is_sound(plane: Dataplane) -> None:
    link(plane, remote=REMOTE, flood=[OTHER], fdb={NEAR: OTHER})
    sent(plane, QUESTION, BROADCAST)
    check_soundness(plane.datapath, "lan", QUESTION, BROADCAST, ANSWER, ethernet(b"", origin=NEAR))
