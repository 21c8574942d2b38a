"""A link's life: what is refused, its MTU (ip_tunnel_bind_dev), fill_info, and that nothing is left of it."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import ValidationError

from tests import vectors
from tests.engine.books import present_ports
from tests.links.test_receive import INNER, LOCAL, REMOTE, outer
from tests.plane import L2, L3, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.builders import gre
from vdp.testing.paths import StaticPaths

ENDS = {"local": LOCAL, "remote": REMOTE}


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    plane.port("lan", L3)
    return plane


# -- newlink ---------------------------------------------------------------------------------


@pytest.mark.conformance("B6")
@pytest.mark.parametrize(
    "extra", [{}, {"key": 5}, {"ikey": 5, "okey": 9}], ids=["keyless", "keyed", "asymmetric"]
)
def test_a_duplicate_is_refused_and_the_first_stays_usable(plane: Plane, extra: dict[str, Any]) -> None:
    plane.link("gre1", "gre", **ENDS, **extra)
    plane.connect("lan", "gre1")
    with pytest.raises(LinkError) as caught:
        plane.link("gre2", "gre", **ENDS, **extra, ttl=9)
    assert caught.value.errno == errno.EEXIST
    assert "gre2: gre1 has the same local, remote, key and underlay" in str(caught.value)
    plane.send("underlay", outer(gre(INNER, key=extra.get("key", extra.get("ikey")))))
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("B1", "B7", "B20")
def test_nothing_is_left_of_a_refused_link(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS)
    before = used(plane)
    with pytest.raises(LinkError):
        plane.link("gre2", "gre", **ENDS)
    assert used(plane) == before
    assert set(plane.datapath.links) == {"gre1"}


@pytest.mark.conformance("A11", "B6")
def test_links_that_differ_in_one_thing_live_side_by_side(plane: Plane) -> None:
    plane.port("other", L3)
    others: list[dict[str, Any]] = [
        {},
        {"key": 0},
        {"local": "192.0.2.9"},
        {"remote": "any"},
        {"underlay": "other"},
    ]
    for number, other in enumerate(others):
        plane.link(f"gre{number}", "gre", **{**ENDS, **other})
    plane.link("frames", "gretap", **ENDS)
    assert len(plane.datapath.links) == 6


def test_a_removed_links_place_is_free_again(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS)
    plane.remove_link("gre1")
    plane.link("gre2", "gre", **ENDS)
    plane.connect("lan", "gre2")
    plane.send("underlay", outer(gre(INNER)))
    assert plane.received("lan") == [INNER]


def used(plane: Plane) -> tuple[int, int, int]:
    """Engine ports in use, and how far counters and states reach when all free ones are taken."""
    engine = plane.engine
    counters, states = [engine.new_counter() for _ in range(64)], [engine.new_state() for _ in range(64)]
    for counter, state in zip(counters, states, strict=True):
        engine.free_counter(counter)
        engine.free_state(state)
    return len(present_ports(engine)), max(counters), max(states)


@pytest.mark.conformance("B7", "B20")
def test_making_and_removing_links_uses_nothing_up(plane: Plane) -> None:
    before = used(plane)
    for _ in range(5):
        plane.link("gre1", "gre", **ENDS)
        plane.remove_link("gre1")
    assert used(plane) == before


# -- validate --------------------------------------------------------------------------------


@pytest.mark.conformance("B2", "B15")
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"remote": "239.1.1.1"}, "a multicast remote needs a local address"),
        ({"ignore_df": True}, "ignore_df contradicts pmtudisc"),
        ({"key": 1, "ikey": 2}, "key sets both directions: leave out ikey"),
        (
            {"csum": True, "icsum": True, "ocsum": True},
            "csum sets both directions: leave out icsum and ocsum",
        ),
        ({"seq": True, "oseq": True}, "seq sets both directions: leave out oseq"),
        ({"key": -1}, "key"),
        ({"key": 1 << 32}, "key"),
        ({"key": "1.2.3"}, "key"),
        ({"ttl": 256}, "ttl"),
        ({"tos": -1}, "tos"),
        ({"mtu": 67}, "mtu"),
        ({"mtu": 65536}, "mtu"),
        ({"local": "not an address"}, "local"),
        ({"remote": "2001:db8::1"}, "remote"),
        ({"csum": "yes"}, "csum"),
        ({"colour": "red"}, "colour"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_parameters_that_make_no_tunnel_are_refused(
    plane: Plane, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        plane.link("gre1", "gre", **parameters)
    assert plane.datapath.links == {}


def test_a_key_may_be_written_as_ip_takes_it(plane: Plane) -> None:
    link = plane.link("gre1", "gre", **ENDS, key="0.0.1.2")
    assert (link.fill_info()["ikey"], link.fill_info()["okey"]) == (258, 258)


# -- the MTU ---------------------------------------------------------------------------------


@pytest.mark.conformance("B9", "B17")
@pytest.mark.parametrize(
    ("kind", "extra", "mtu"),
    [
        ("gre", {}, 1476), ("gre", {"key": 1}, 1472), ("gre", {"csum": True}, 1472), ("gre", {"seq": True},
        1472),
        ("gre", {"key": 1, "csum": True}, 1468), ("gre", {"key": 1, "csum": True, "seq": True}, 1464),
        ("gre", {"ikey": 1, "icsum": True, "iseq": True}, 1476), ("gre", {"okey": 1}, 1472),
        ("gretap", {}, 1462), ("gretap", {"key": 1}, 1458), ("gretap", {"key": 1, "csum": True,
        "seq": True}, 1450),
    ],
    ids=str,
)  # fmt: skip
def test_the_mtu_is_what_the_headers_leave_of_the_way(
    plane: Plane, kind: str, extra: dict[str, Any], mtu: int
) -> None:
    """Only what is sent counts: t_hlen is made of o_flags."""
    assert plane.link("link1", kind, **ENDS, **extra).mtu == mtu


@pytest.mark.conformance("B9", "B17")
@vectors.needed
@pytest.mark.parametrize(
    "case", vectors.load("scenarios/mtu.json").get("cases", ()), ids=lambda case: case["kind"]
)
def test_the_mtu_is_that_of_the_scenario(make_plane: MakePlane, case: dict[str, Any]) -> None:
    plane = make_plane(paths=StaticPaths(mtu=case["underlay"]))
    plane.port("underlay", L3)
    assert plane.link("link1", case["kind"], **ENDS).mtu == case["mtu"]


@pytest.mark.conformance("B9", "B10")
@pytest.mark.parametrize(("underlay", "mtu"), [(9000, 8976), (93, 69), (92, 68), (60, 68)])
def test_the_mtu_follows_the_way_and_is_never_below_68(
    make_plane: MakePlane, underlay: int, mtu: int
) -> None:
    plane = make_plane(paths=StaticPaths(mtu=underlay))
    plane.port("underlay", L3)
    assert plane.link("link1", "gre", **ENDS).mtu == mtu


@pytest.mark.conformance("B9", "B18")
def test_a_configured_mtu_is_taken_as_it_is(plane: Plane) -> None:
    assert plane.link("link1", "gre", **ENDS, mtu=900).mtu == 900


@pytest.mark.conformance("B9")
def test_without_a_remote_or_a_route_1500_is_assumed(make_plane: MakePlane) -> None:
    plane = make_plane(paths=StaticPaths(mtu=9000, unreachable={IPv4Address(REMOTE)}))
    plane.port("underlay", L3)
    assert plane.link("link1", "gre").mtu == 1476
    assert plane.link("link2", "gretap", **ENDS).mtu == 1462


# -- fill_info -------------------------------------------------------------------------------


def test_fill_info_tells_all_parameters(plane: Plane) -> None:
    parameters: dict[str, Any] = {
        "ikey": 1,
        "ocsum": True,
        "iseq": True,
        "ttl": 9,
        "tos": "inherit",
        "pmtudisc": False,
        "ignore_df": True,
    }
    info = plane.link("link1", "gre", **ENDS, **parameters).fill_info()
    ends = {"local": LOCAL, "remote": REMOTE, "underlay": "underlay"}
    flags = {"ikey": 1, "okey": None, "iflags": ["key", "seq"], "oflags": ["csum"]}
    rest = {"ttl": 9, "tos": "inherit", "pmtudisc": False, "ignore_df": True}
    assert ends | flags | rest == {name: info[name] for name in ends | flags | rest}


def test_no_address_is_shown_as_any(plane: Plane) -> None:
    info = plane.link("link1", "gre").fill_info()
    assert (info["local"], info["remote"], info["ikey"], info["iflags"]) == ("any", "any", None, [])


# -- dellink ---------------------------------------------------------------------------------


@pytest.mark.conformance("B23")
def test_flows_of_a_removed_link_go_with_it(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS)
    plane.link("gre9", "gre", local=LOCAL, remote="192.0.2.9")
    plane.connect("lan", "gre1")
    plane.send("underlay", outer(gre(INNER)))
    plane.send("lan", INNER)
    assert (len(plane.received("lan")), len(plane.received("underlay"))) == (1, 1)
    plane.datapath.forwarding.disconnect("lan")
    plane.remove_link("gre1")
    plane.send("underlay", outer(gre(INNER)))
    assert plane.drops("underlay") == {"tunnel_no_link": 1}
    plane.send("lan", INNER)
    assert plane.drops("lan") == {"no_forwarding": 1}


@pytest.mark.conformance("B23")
def test_no_flow_refers_to_a_link_when_its_cell_and_counters_go(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Freed numbers are used again: what still ran by them would count for somebody else."""
    link = plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    plane.send("underlay", outer(gre(INNER)))
    plane.send("lan", INNER)
    found: list[str] = []

    def remove(number: int) -> None:
        programs = [str(flow.program) for flow in plane.datapath.slowpath.index.flows.values()]
        for word in (f"port={number})", f"counter={link.counters.rx},", f"counter={link.counters.tx},"):
            found.extend(text for text in programs if word in text)

    monkeypatch.setattr(plane.engine, "remove_port", remove)
    plane.remove_link("gre1")
    assert found == []


def test_the_last_link_of_an_underlay_takes_its_protocol_along(plane: Plane) -> None:
    plane.link("gre1", "gre", **ENDS)
    plane.remove_link("gre1")
    plane.send("underlay", outer(gre(INNER)))
    assert plane.drops("underlay") == {"no_forwarding": 1}


@pytest.mark.conformance("B23")
@pytest.mark.parametrize("way", ["connect", "bridge", "rule"])
def test_what_is_for_a_removed_link_is_dropped_as_for_no_port(make_plane: MakePlane, way: str) -> None:
    """Also when the forwarding still names it; and goes again once there is such a link."""
    from vdp.config.model import RuleSection
    from vdp.forwarding.rules import compile_rule

    plane = make_plane()
    kind, packet = (
        ("gretap", b"\xff" * 6 + b"\x02" + bytes(5) + b"\x12\x34" + bytes(40))
        if way == "bridge"
        else ("gre", INNER)
    )
    plane.port("underlay", L3)
    plane.port("lan", L2 if kind == "gretap" else L3)
    plane.link("link1", kind, **ENDS)
    if way == "connect":
        plane.connect("lan", "link1")
    elif way == "bridge":
        plane.bridge("br0", "lan", "link1")
    else:
        rule = RuleSection.model_validate({"match": {"in_port": "lan"}, "actions": ["output:link1"]})
        plane.datapath.forwarding.rules = (compile_rule(rule),)
    plane.send("lan", packet)
    assert len(plane.received("underlay")) == 1
    plane.remove_link("link1")
    plane.send("lan", packet)
    assert plane.drops("lan") == {"no_port": 1}
    plane.link("link1", kind, **ENDS)
    plane.datapath.revalidate()
    plane.send("lan", packet)
    assert len(plane.received("underlay")) == 1


@pytest.mark.conformance("B23")
def test_packets_in_a_cell_of_a_link_that_goes_are_counted(plane: Plane) -> None:
    """shutdown, charged to the cell; the underlay's books stay right."""
    plane.link("gre1", "gre", **ENDS)
    plane.connect("lan", "gre1")
    plane.send("underlay", outer(gre(INNER)))
    plane.arrive("underlay", *[outer(gre(INNER))] * 3)
    plane.remove_link("gre1")
    plane.settle()
    assert plane.stats("underlay").rx_packets == 4


def test_a_link_on_ethernet_answers_for_its_own_address(make_plane: MakePlane) -> None:
    """ARP: the underlay interface needs no address (tests of the answer itself: test_arp)."""
    from scapy.layers.l2 import ARP, Ether

    plane = make_plane()
    plane.port("underlay", L2, mac=b"\x02\0\0\0\0\x0b")
    plane.link("gre1", "gre", **ENDS)
    ask = bytes(
        Ether(src="02:00:00:00:00:0c", dst="ff:ff:ff:ff:ff:ff")
        / ARP(hwsrc="02:00:00:00:00:0c", psrc=REMOTE, pdst=LOCAL)
    )
    plane.send("underlay", ask)
    (answer,) = [Ether(data) for data in plane.received("underlay")]
    assert (answer.src, answer.dst) == ("02:00:00:00:00:0b", "02:00:00:00:00:0c")
    assert (answer.op, answer.hwsrc, answer.psrc, answer.hwdst, answer.pdst) == (
        2, "02:00:00:00:00:0b", LOCAL, "02:00:00:00:00:0c", REMOTE,
    )  # fmt: skip
    plane.remove_link("gre1")
    plane.send("underlay", ask)
    assert plane.received("underlay") == []
