"""Which tunnel a packet belongs to: ip_tunnel_lookup's passes, keys, underlays, and links that are down."""

from __future__ import annotations

from typing import Any

import pytest

from tests import vectors
from tests.plane import L3, Plane
from vdp.testing.builders import gre, ipv4, udp

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
Tunnels = dict[str, dict[str, Any]]


@pytest.fixture
def lookup(plane: Plane) -> Any:
    """Makes tunnels by name, then says which one takes a packet (None: none of them)."""
    plane.port("underlay", L3)
    plane.port("other", L3)

    def make(**tunnels: dict[str, Any]) -> Any:
        for name, parameters in tunnels.items():
            plane.link(name, "gre", **parameters)

        def ask(source: str, destination: str, key: int | None = None, port: str = "underlay") -> str | None:
            before = {name: plane.counters(name)["rx_packets"] for name in tunnels}
            plane.send(port, ipv4(source, destination, gre(INNER, key=key), protocol=47))
            after = {name: plane.counters(name)["rx_packets"] for name in tunnels}
            took = [name for name in tunnels if after[name] > before[name]]
            assert len(took) <= 1
            return took[0] if took else None

        return ask

    return make


@pytest.mark.conformance("D2", "D3", "D4", "D5")
@vectors.needed
def test_the_passes_of_the_scenario(lookup: Any) -> None:
    scenario = vectors.load("scenarios/lookup.json")
    tunnels = {
        item["id"]: {"fallback": True}
        if item.get("fallback")
        else {"local": item["local"] or "any", "remote": item["remote"] or "any"}
        | ({} if item["key"] is None else {"key": item["key"]})
        for item in scenario["tunnels"]
    }
    ask = lookup(**tunnels)
    for packet in scenario["packets"]:
        assert ask(packet["src"], packet["dst"], packet["key"]) == packet["match"]
    assert ask("10.0.0.77", "10.0.0.78", 5) == "FB"


@pytest.mark.conformance("D2")
@vectors.needed
def test_ovs_most_specific_port_wins(lookup: Any) -> None:
    case = vectors.load("scenarios/ovs_tunnel.json")["cases"][0]
    assert case["match"] == "p2"
    ask = lookup(p1={"remote": "1.1.1.1"}, p2={"local": "2.2.2.2", "remote": "1.1.1.1"})
    assert ask("1.1.1.1", "2.2.2.2") == "p2"
    assert ask("1.1.1.1", "1.2.3.4") == "p1"
    assert ask("5.5.5.5", "6.6.6.6") is None


A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
BOTH, REMOTE_ONLY, LOCAL_ONLY, NEITHER = (
    {"local": A, "remote": B},
    {"remote": B},
    {"local": A},
    {"local": "any"},
)


@pytest.mark.conformance("D2", "D3", "D4", "D5")
def test_each_pass_comes_after_the_more_exact_ones(lookup: Any) -> None:
    ask = lookup(neither=NEITHER, local=LOCAL_ONLY, remote=REMOTE_ONLY, both=BOTH)
    assert ask(B, A) == "both"
    assert ask(B, C) == "remote"
    assert ask(C, A) == "local"
    assert ask(C, "192.0.2.9") == "neither"


@pytest.mark.conformance("D7")
@pytest.mark.parametrize("ends", [BOTH, REMOTE_ONLY, LOCAL_ONLY], ids=["both", "remote", "local"])
def test_keys_must_agree_and_no_key_is_not_key_zero(lookup: Any, ends: dict[str, str]) -> None:
    ask = lookup(none=ends, zero=ends | {"key": 0}, seven=ends | {"key": 7})
    assert (ask(B, A), ask(B, A, 0), ask(B, A, 7), ask(B, A, 8)) == ("none", "zero", "seven", None)


@pytest.mark.conformance("D5")
def test_in_the_last_pass_no_key_counts_as_key_zero(lookup: Any) -> None:
    """The pass without addresses compares values only (i_key == key)."""
    ask = lookup(zero=NEITHER | {"key": 0})
    assert ask(B, A) == "zero"
    assert ask(B, A, 0) == "zero"
    assert ask(B, A, 1) is None


@pytest.mark.conformance("D5")
def test_a_keyless_tunnel_without_addresses_takes_key_zero(lookup: Any) -> None:
    ask = lookup(none=NEITHER)
    assert (ask(B, A), ask(B, A, 0), ask(B, A, 1)) == ("none", "none", None)


@pytest.mark.conformance("D10")
def test_only_the_input_key_counts(lookup: Any) -> None:
    ask = lookup(link=BOTH | {"ikey": 5, "okey": 6})
    assert (ask(B, A, 5), ask(B, A, 6)) == ("link", None)


def test_a_wrong_source_finds_nothing(lookup: Any) -> None:
    assert lookup(link=BOTH)(C, A) is None


@pytest.mark.conformance("B29")
def test_a_link_that_is_down_is_passed_over_for_a_less_exact_one(plane: Plane, lookup: Any) -> None:
    ask = lookup(both=BOTH, remote=REMOTE_ONLY)
    assert ask(B, A) == "both"
    plane.datapath.set_link_up("both", False)
    assert ask(B, A) == "remote"
    plane.datapath.set_link_up("remote", False)
    assert ask(B, A) is None
    plane.datapath.set_link_up("both", True)
    assert ask(B, A) == "both"


@pytest.mark.conformance("B29")
def test_a_link_made_down_takes_nothing_until_it_is_up(plane: Plane, lookup: Any) -> None:
    ask = lookup(link=BOTH | {"up": False})
    assert ask(B, A) is None
    plane.datapath.set_link_up("link", True)
    assert ask(B, A) == "link"


def test_a_link_takes_nothing_from_another_underlay(plane: Plane, lookup: Any) -> None:
    ask = lookup(here=BOTH)
    plane.link("there", "gre", underlay="other", **BOTH)
    assert ask(B, A, port="underlay") == "here"
    assert ask(B, A, port="other") is None
    assert plane.counters("there")["rx_packets"] == 1


@pytest.mark.conformance("D4")
def test_a_group_is_the_remote_of_what_it_receives(lookup: Any) -> None:
    """A multicast destination that is the tunnel's remote, from whomever."""
    ask = lookup(group={"local": A, "remote": "239.1.1.1"})
    assert ask(B, "239.1.1.1") == "group"
    assert ask(C, "239.1.1.1") == "group"
    assert ask(C, "239.1.1.2") is None
    assert ask("239.1.1.1", C) is None


def test_of_two_links_of_a_group_the_one_that_stays_still_receives(plane: Plane, lookup: Any) -> None:
    ask = lookup(first={"local": A, "remote": "239.1.1.1"}, second={"local": C, "remote": "239.1.1.1"})
    assert ask(B, "239.1.1.1") in ("first", "second")
    plane.remove_link("first")
    before = plane.counters("second")["rx_packets"]
    plane.send("underlay", ipv4(B, "239.1.1.1", gre(INNER), protocol=47))
    assert plane.counters("second")["rx_packets"] == before + 1


@pytest.mark.conformance("D4")
def test_of_two_links_of_a_group_the_one_that_is_up_receives(plane: Plane, lookup: Any) -> None:
    ask = lookup(first={"local": A, "remote": "239.1.1.1"}, second={"local": C, "remote": "239.1.1.1"})
    for down, up in (("first", "second"), ("second", "first")):
        plane.datapath.set_link_up(down, False)
        assert ask(B, "239.1.1.1") == up
        plane.datapath.set_link_up(down, True)


@pytest.mark.conformance("D2")
def test_lookup_guards_addresses_and_key_and_nothing_beyond(plane: Plane, lookup: Any) -> None:
    """Packets of one tunnel that differ inside are one megaflow."""
    lookup(link=BOTH | {"key": 7})
    inner = [ipv4(f"10.0.0.{n}", "10.0.0.1", udp(n, 2), ttl=n + 2, id=n) for n in range(1, 30)]
    plane.send(
        "underlay",
        *[ipv4(B, A, gre(each, key=7), protocol=47, id=n, ttl=n + 9) for n, each in enumerate(inner)],
    )
    assert plane.counters("link")["rx_packets"] == 29
    assert len(plane.flows("underlay")) == 1


@pytest.mark.conformance("D11")
def test_many_tunnels_are_one_mask(plane: Plane, lookup: Any) -> None:
    ask = lookup(**{f"t{n}": {"local": A, "remote": f"192.0.2.{n}"} for n in range(10, 60)})
    assert [ask(f"192.0.2.{n}", A) for n in range(10, 60)] == [f"t{n}" for n in range(10, 60)]
    assert len({flow.match.mask for flow in plane.flows("underlay")}) == 1
