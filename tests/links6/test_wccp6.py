"""WCCP over IPv6 (protocol type 0x883E): what vdp_wccp makes of it, by either rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.links6.packets import INNER, INNER6, LOCAL, REMOTE, gre, outer
from tests.plane import L3, MakePlane, Plane
from vdp.protocols.ethernet import EtherType
from vdp.testing.soundness import check_soundness
from vdp_wccp import Settings

WCCP = 0x883E
REDIRECT = bytes([0x80, 0x33, 0, 9])


def plane_of(make_plane: MakePlane, detect: Any) -> Plane:
    plane = make_plane(("gre", "ip6gre", "wccp"), settings={"wccp": Settings(detect=detect)})
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("link1", "ip6gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "link1")
    return plane


@pytest.mark.conformance("C14")
@pytest.mark.parametrize("detect", ["full", "linux"])
def test_the_redirect_header_is_skipped(make_plane: MakePlane, detect: str) -> None:
    plane = plane_of(make_plane, detect)
    packet = outer(gre(REDIRECT + INNER6, WCCP))
    plane.send("underlay", packet, packet)
    out = plane.collect("lan")
    assert [p.data for p in out] == [INNER6, INNER6]
    assert {int.from_bytes(p.meta[4:8], "big") for p in out} == {EtherType.IPV6}
    assert {p.meta[8:12] for p in out} == {REDIRECT}
    check_soundness(plane.datapath, "underlay", packet, outer(gre(INNER6, WCCP)))


@pytest.mark.conformance("C14")
def test_an_ip6_packet_that_follows_at_once_is_whole(make_plane: MakePlane) -> None:
    """By the full test; Linux asks for a first nibble of 4, and takes four bytes for a redirect header."""
    plane = plane_of(make_plane, "full")
    plane.send("underlay", outer(gre(INNER6, WCCP)))
    assert plane.received("lan") == [INNER6]
    plane = plane_of(make_plane, "linux")
    plane.send("underlay", outer(gre(INNER6, WCCP)))
    assert plane.received("lan") == [INNER6[4:]]


@pytest.mark.conformance("C14")
def test_what_is_no_ip6_packet_is_refused_by_the_full_test(make_plane: MakePlane) -> None:
    plane = plane_of(make_plane, "full")
    plane.send("underlay", *(outer(gre(payload, WCCP)) for payload in (INNER, REDIRECT + INNER, INNER6[:30])))
    assert plane.received("lan") == []
    assert plane.drops("underlay") == {"plugin_wccp_inner": 3}


@pytest.mark.conformance("C14")
@pytest.mark.parametrize("flags", [{"key": True}, {"seq": True}, {"csum": True}])
def test_with_any_flag_it_is_a_protocol_as_any_other(make_plane: MakePlane, flags: dict[str, bool]) -> None:
    plane = plane_of(make_plane, "linux")
    options = {"key": 42} if "key" in flags else flags
    plane.change_link("link1", local=LOCAL, remote=REMOTE, **options)
    plane.send("underlay", outer(gre(REDIRECT + INNER6, WCCP, **flags)))
    (out,) = plane.collect("lan")
    assert (out.data, int.from_bytes(out.meta[4:8], "big")) == (REDIRECT + INNER6, WCCP)
