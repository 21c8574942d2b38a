"""What OVS and VPP expect of their own tunnels (scenarios/*.json), asked of vdp's."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from tests import vectors
from tests.plane import L3, A, B, Plane
from vdp.forwarding.routes import Route
from vdp.links.link import LinkError
from vdp.testing.builders import gre, ipv4

pytestmark = vectors.needed


def said(file: str, name: str) -> str:
    """What the scenario expects, in its own words; the test below it is that, asked of vdp."""
    (case,) = [case for case in vectors.load(f"scenarios/{file}.json")["cases"] if case["name"] == name]
    return str(case["expect"])


def packet(number: int = 0, **fields: Any) -> bytes:
    return bytes(IP(src="10.0.0.1", dst="10.1.0.1", id=number, **fields) / UDP(sport=1) / Raw(bytes(number)))


@pytest.fixture
def routed(plane: Plane) -> Plane:
    """Port lan and link gre1, with routes to both."""
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.route(Route(ip_network("10.1.0.0/16"), "gre1"), Route(ip_network("10.0.0.0/16"), "lan"))
    return plane


def test_ovs_what_fits_no_tunnel_is_dropped(routed: Plane) -> None:
    assert said("ovs_tunnel", "input.no_match") == "drop"
    routed.send("underlay", ipv4("5.5.5.5", "6.6.6.6", gre(packet()), protocol=47))
    assert routed.received("lan") == []
    assert routed.drops("underlay") == {"tunnel_no_link": 1}


@pytest.mark.parametrize(
    ("options", "ttl", "df", "csum"),
    [({"ttl": 64}, 64, True, 0), ({"ttl": 64, "pmtudisc": False}, 64, False, 0), ({"ttl": 1}, 1, True, 0),
    ({"ttl": 64, "csum": True}, 64, True, 1)],
    ids=["defaults", "df_default=false", "ttl=1", "csum=true"],
)  # fmt: skip
def test_ovs_output(plane: Plane, options: dict[str, Any], ttl: int, df: bool, csum: int) -> None:
    assert said("ovs_tunnel", "output.defaults").startswith(
        "outer ttl 64, DF set, outer tos 0 although inner tos is 4"
    )
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B, **options)
    plane.connect("lan", "gre1")
    plane.send("lan", packet(tos=4, ttl=128))
    (out,) = [IP(data) for data in plane.received("underlay")]
    assert (out.ttl, out.tos, out.flags == "DF", out[GRE].chksum_present) == (ttl, 0, df, csum)


def test_vpp_creating_twice_fails_and_the_first_stays_usable(routed: Plane) -> None:
    assert (
        said("vpp_test_gre", "test_gre.double_create")
        == "creating the same tunnel twice fails, the first stays usable"
    )
    with pytest.raises(LinkError) as caught:
        routed.link("gre2", "gre", local=A, remote=B)
    assert caught.value.errno == errno.EEXIST
    routed.send("lan", packet())
    assert len(routed.received("underlay")) == 1


def test_vpp_encapsulation_of_257_packets(routed: Plane) -> None:
    assert "inner TTL decremented by 1, inner addresses kept, 257 of 257" in said(
        "vpp_test_gre", "test_gre.encap_4o4"
    )
    routed.send("lan", *[packet(number) for number in range(257)])
    found = [IP(data) for data in routed.received("underlay")]
    assert len(found) == 257
    for number, out in enumerate(found):
        assert (out.src, out.dst, out.tos, out.len) == (A, B, 0, len(bytes(out)))
        assert bytes(out[GRE].payload) == packet(number, ttl=63)


def test_vpp_decapsulation_of_257_packets(routed: Plane) -> None:
    assert said("vpp_test_gre", "test_gre.decap_4o4") == "257 of 257 forwarded, TTL decremented by 1"
    inner = [bytes(IP(src="10.1.0.1", dst="10.0.0.1", id=number) / UDP()) for number in range(257)]
    routed.send("underlay", *[ipv4(B, A, gre(each), protocol=47) for each in inner])
    wanted = [bytes(IP(src="10.1.0.1", dst="10.0.0.1", id=number, ttl=63) / UDP()) for number in range(257)]
    assert routed.received("lan") == wanted


def test_vpp_a_source_that_is_not_the_peer(routed: Plane) -> None:
    assert said("vpp_test_gre", "test_gre.wrong_source") == "outer source not the tunnel peer: none forwarded"
    routed.send("underlay", *[ipv4("192.0.2.99", A, gre(packet()), protocol=47)] * 10)
    assert routed.received("lan") == []


def test_vpp_key_123(plane: Plane) -> None:
    assert said("vpp_test_gre", "test_gre_with_key") == "key 123: GRE key present and equal in every packet"
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B, key=123)
    plane.connect("lan", "gre1")
    plane.send("lan", *[packet(number) for number in range(20)])
    assert [IP(data)[GRE].key for data in plane.received("underlay")] == [123] * 20
