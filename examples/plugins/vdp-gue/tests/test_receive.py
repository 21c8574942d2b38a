"""What GUE links and the decoder take, drop, and do not look at."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from vdp.api import IPProtocol, PacketType
from vdp.testing import Dataplane, assert_trace, check_soundness
from vdp.testing.builders import ETH_IPV4, ethernet, gre, icmp, ipv4, udp
from vdp.testing.strategies import broken, headers, joined, patient

from vdp_gue import GueHeader
from vdp_gue.samples import (
    ANSWER,
    ANSWER6,
    IN_GRE,
    KEY,
    LOCAL,
    REMOTE,
    datagram,
    direct,
    packet,
    packet6,
    samples,
)

IPV6, GRE = IPProtocol.IPV6, IPProtocol.GRE
PORTS = {"gue": {"ports": [6080]}}


@pytest.fixture
def ready(plane: Dataplane) -> Dataplane:
    """The topology of the samples."""
    list(samples(plane))
    return plane


@pytest.mark.parametrize(
    ("data", "lan", "carried"),
    [
        (packet(), "lan", ANSWER),
        (packet(ANSWER6, proto=IPV6), "lan", ANSWER6),
        (packet(extension=b"whatever"), "lan", ANSWER),
        (packet(extension=bytes(4) + b"more", flags=1), "lan", ANSWER),
        (direct(), "lan", ANSWER),
        (direct(ANSWER6), "lan", ANSWER6),
        (packet6(), "lan6", ANSWER),
        (packet6(ANSWER6, proto=IPV6), "lan6", ANSWER6),
        (packet(IN_GRE, proto=GRE), "lan2", ethernet(ANSWER)),
        (packet(IN_GRE, proto=GRE, extension=bytes(8)), "lan2", ethernet(ANSWER)),
    ],
    ids=[
        "4", "6", "extension", "private-flags", "direct-4", "direct-6", "4-over-6", "6-over-6", "gre",
        "gre-extension",
    ],
)  # fmt: skip
def test_what_it_carries_comes_out(ready: Dataplane, data: bytes, lan: str, carried: bytes) -> None:
    ready.send("underlay", data)
    assert ready.received(lan) == [carried]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet(version=2), "plugin_gue_version"),
        (packet(version=3), "plugin_gue_version"),
        (direct(b"\x50" + ANSWER[1:]), "plugin_gue_version"),
        (packet(flags=2), "plugin_gue_flags"),
        (packet(flags=1), "plugin_gue_flags"),
        (packet(bytes(40), flags=1), "plugin_gue_flags"),
        (packet(flags=1, extension=b"\x80\0\0\0" + bytes(4)), "plugin_gue_flags"),
        (packet(hlen=31), "plugin_gue_flags"),
        (packet(control=1), "plugin_gue_control"),
        (packet(proto=50), "plugin_gue_proto"),
        (packet(proto=59), "plugin_gue_proto"),
        (ipv4("192.0.2.9", LOCAL, datagram()), "plugin_gue_proto"),
        (ipv4(REMOTE, LOCAL, udp(1, 6080, b"")), "parse_truncated"),
        (packet(tos=3), "tunnel_ecn"),
    ],
)
def test_what_is_wrong_is_dropped_under_its_own_reason(ready: Dataplane, data: bytes, reason: str) -> None:
    ready.send("underlay", data)
    assert ready.drops("underlay") == {reason: 1}


def test_the_engine_does_the_rest_alone(ready: Dataplane) -> None:
    ready.send("underlay", packet())
    seen = ready.upcalls
    again = [ipv4("10.0.0.2", "10.0.0.1", udp(53, port, b"x" * port)) for port in range(100)]
    ready.send("underlay", *map(packet, again))
    assert ready.upcalls == seen
    assert ready.received("lan") == [ANSWER, *again]


def test_what_is_looked_at(ready: Dataplane) -> None:
    assert_trace(
        ready,
        "underlay",
        packet(extension=bytes(8)),
        output="gue",
        guards={"GueHeader.version": 0, "GueHeader.hlen": 2, "GueHeader.flags": 0, "GueHeader.proto": 4},
        wildcards=["Udp.source", "PrivateFlags.flags"],
        actions=["require_udp", "pull 40"],
    )


# -- beside links that are not in GUE ----------------------------------------------------------


def plain(plane: Dataplane) -> None:
    """A gre and a gretap link without GUE."""
    plane.port("underlay", PacketType.L3)
    for name, kind in (("gre1", "gre"), ("gretap1", "gretap")):
        plane.port(f"lan-{kind}", PacketType.L2 if kind == "gretap" else PacketType.L3)
        plane.link(name, kind, local=LOCAL, remote=REMOTE)
        plane.connect(f"lan-{kind}", name)


@pytest.mark.vdp("gre", "gretap", "gue", settings=PORTS)
def test_on_a_configured_port_plain_links_get_what_is_theirs(plane: Dataplane) -> None:
    """`ip fou add port 6080 gue`."""
    plain(plane)
    plane.send("underlay", packet(gre(ANSWER, ETH_IPV4), proto=GRE))
    plane.send("underlay", packet(gre(ethernet(ANSWER), 0x6558), proto=GRE))
    assert plane.received("lan-gre") == [ANSWER]
    assert plane.received("lan-gretap") == [ethernet(ANSWER)]


@pytest.mark.vdp("gre", "gretap", "gue", settings=PORTS)
def test_links_in_gue_come_first_there(plane: Dataplane) -> None:
    plain(plane)
    plane.link("guetap", "guetap", local=LOCAL, remote=REMOTE)
    assert_trace(plane, "underlay", packet(gre(ethernet(ANSWER), 0x6558), proto=GRE), output="guetap")
    assert_trace(plane, "underlay", packet(gre(ANSWER, ETH_IPV4), proto=GRE), output="gre1")
    plane.remove_link("guetap")
    assert_trace(plane, "underlay", packet(gre(ethernet(ANSWER), 0x6558), proto=GRE), output="gretap1")


def test_on_any_other_port_they_do_not(ready: Dataplane) -> None:
    ready.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    ready.link("gretap1", "gretap", local=LOCAL, remote=REMOTE, key=KEY)
    ready.send("underlay", packet(gre(ANSWER, ETH_IPV4), proto=GRE))
    assert ready.drops("underlay") == {"tunnel_no_link": 1}
    assert_trace(ready, "underlay", packet(IN_GRE, proto=GRE), output="guetap")


def test_plain_packets_are_not_for_links_in_gue(ready: Dataplane) -> None:
    ready.link("gretap1", "gretap", local=LOCAL, remote=REMOTE, key=KEY)
    assert_trace(ready, "underlay", packet(IN_GRE, proto=GRE), output="guetap")
    assert_trace(ready, "underlay", ipv4(REMOTE, LOCAL, IN_GRE, protocol=47), output="gretap1")


@pytest.mark.vdp("gre", "gretap", "gue", settings=PORTS)
def test_gue_in_gue_ends(plane: Dataplane) -> None:
    """As the kernel does, each header is taken by itself; deeper than the window is no header."""
    plain(plane)
    data = gre(ANSWER, ETH_IPV4)
    inside = ipv4(REMOTE, LOCAL, datagram(data, proto=GRE))[20:]
    plane.send("underlay", packet(inside, proto=17))
    assert plane.received("lan-gre") == [ANSWER]
    deep = b""
    for _ in range(30):
        deep = ipv4(REMOTE, LOCAL, datagram(deep, proto=17))[20:]
    plane.send("underlay", packet(deep, proto=17))
    assert plane.drops("underlay") == {"header_budget": 1}


# -- errors ------------------------------------------------------------------------------------


def errors(plane: Dataplane, sent: bytes, *, code: int = 1, rest: int = 0) -> Any:
    plane.send("underlay", ipv4("203.0.113.1", LOCAL, icmp(3, code, rest=rest, payload=sent), protocol=1))
    (handler,) = plane.datapath.udp[4].ports
    return handler.errors


def test_an_error_that_quotes_only_udp_is_the_links(ready: Dataplane) -> None:
    sent = ipv4(LOCAL, REMOTE, datagram())[:28]
    assert errors(ready, sent, code=4, rest=1400) == {"received": 1}
    assert ready.datapath.links["gue"].mtu == 1400 - 32


def test_an_error_about_gre_in_it_is_guetaps(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    link = plane.link("guetap", "guetap", local=LOCAL, remote=REMOTE, key=KEY)
    sent = ipv4(LOCAL, REMOTE, datagram(IN_GRE, proto=GRE))
    assert errors(plane, sent) == {"received": 1}
    assert link.errors is not None
    assert link.errors.count == 1
    assert errors(plane, ipv4(LOCAL, "192.0.2.9", datagram(IN_GRE, proto=GRE))) == {
        "received": 1,
        "reject": 1,
    }


# -- properties --------------------------------------------------------------------------------


def test_it_is_sound(ready: Dataplane) -> None:
    odd = [
        packet(version=2),
        packet(flags=1),
        packet(flags=1, extension=bytes(4)),
        packet(proto=50),
        packet(hlen=31),
    ]
    check_soundness(
        ready.datapath, "underlay", packet(), direct(), packet6(), packet(IN_GRE, proto=GRE), *odd
    )


@patient
@given(broken(joined(headers(GueHeader), ANSWER)))
def test_no_broken_packet_hurts(ready: Dataplane, data: bytes) -> None:
    ready.send("underlay", ipv4(REMOTE, LOCAL, udp(1, 6080, data)))
