"""The fallback link (gre0, gretap0): what it takes, and what can not be done to it."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from pydantic import ValidationError

from tests.plane import L3, A, B, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.builders import ethernet, gre, ipv4, udp

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
C = "192.0.2.3"


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    plane.port("other", L3)
    plane.port("lan", L3)
    return plane


def sent_to(
    plane: Plane, source: str = B, destination: str = A, port: str = "underlay", **options: Any
) -> str:
    """Which link takes it: its name; "" where none does."""
    before = {name: plane.counters(name)["rx_packets"] for name in plane.datapath.links}
    plane.send(port, ipv4(source, destination, gre(INNER, **options), protocol=47))
    took = [name for name in before if plane.counters(name)["rx_packets"] > before[name]]
    assert len(took) <= 1
    return "".join(took)


@pytest.mark.conformance("A13", "D8")
@pytest.mark.parametrize("key", [None, 0, 7])
def test_it_takes_what_no_other_link_takes_whatever_the_key(plane: Plane, key: int | None) -> None:
    plane.link("gre1", "gre", local=A, remote=B)
    plane.link("gre0", "gre", fallback=True)
    assert sent_to(plane, C, "192.0.2.99", key=key) == "gre0"
    assert sent_to(plane, B, A) == "gre1"
    assert sent_to(plane, B, A, key=9) == "gre0"


@pytest.mark.conformance("A13", "D8")
def test_it_comes_after_every_pass(plane: Plane) -> None:
    plane.link("gre0", "gre", fallback=True)
    others: dict[str, dict[str, Any]] = {
        "both": {"local": A, "remote": B},
        "remote": {"remote": B},
        "local": {"local": A},
        "key": {"key": 0},
    }
    for name, more in others.items():
        plane.link(name, "gre", **more)
    assert [sent_to(plane, *ends) for ends in ((B, A), (B, C), (C, A))] == ["both", "remote", "local"]
    assert sent_to(plane, C, "192.0.2.99", key=0) == "key"
    assert sent_to(plane, C, "192.0.2.99", key=1) == "gre0"


@pytest.mark.conformance("D8")
def test_one_that_is_down_takes_nothing(plane: Plane) -> None:
    plane.link("gre0", "gre", fallback=True, up=False)
    assert sent_to(plane) == ""
    plane.datapath.set_link_up("gre0", True)
    assert sent_to(plane) == "gre0"
    plane.datapath.set_link_up("gre0", False)
    assert sent_to(plane) == ""


@pytest.mark.conformance("A13", "A11")
def test_it_takes_only_what_is_of_its_kind_and_underlay(plane: Plane) -> None:
    plane.link("gre0", "gre", fallback=True)
    frame = ipv4(B, A, gre(ethernet(INNER), protocol=0x6558), protocol=47)
    plane.send("underlay", frame)
    assert plane.counters("gre0")["rx_packets"] == 0
    assert sent_to(plane, port="other") == ""
    plane.link("gretap0", "gretap", fallback=True)
    plane.link("gre0b", "gre", underlay="other", fallback=True)
    plane.send("underlay", frame)
    assert plane.counters("gretap0")["rx_packets"] == 1
    assert sent_to(plane, port="other") == "gre0b"


@pytest.mark.conformance("D8", "E2")
def test_the_checksum_policy_holds_for_it_too(plane: Plane) -> None:
    """Its flags are all zero: a checksum, even a good one, is an error (ip_tunnel_rcv)."""
    plane.link("gre0", "gre", fallback=True)
    assert sent_to(plane, csum=True) == ""
    found = plane.counters("gre0")
    assert (found["rx_crc_errors"], found["rx_errors"]) == (1, 1)
    assert sent_to(plane, sequence=1) == "gre0"


@pytest.mark.conformance("B6", "A13")
@pytest.mark.parametrize("first", ["fallback", "ordinary"])
def test_no_other_link_is_of_any_ends_without_a_key(plane: Plane, first: str) -> None:
    ways: dict[str, dict[str, Any]] = {"fallback": {"fallback": True}, "ordinary": {}}
    plane.link("one", "gre", **ways.pop(first))
    (other,) = ways.values()
    with pytest.raises(LinkError) as caught:
        plane.link("two", "gre", **other)
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(LinkError):
        plane.link("three", "gre", fallback=True)
    assert set(plane.datapath.links) == {"one"}


@pytest.mark.conformance("B6")
def test_without_a_fallback_an_ordinary_link_may_be_of_any_ends(plane: Plane) -> None:
    plane.link("any", "gre")
    assert (sent_to(plane), sent_to(plane, key=7)) == ("any", "")


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"local": A}, "local"), ({"remote": B, "key": 1}, "key and remote"), ({"ikey": 1}, "ikey"),
        ({"csum": True, "ttl": 3, "okey": 1}, "csum, okey and ttl"), ({"link": "eth0"}, "link"),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_that_it_can_not_have_are_refused_by_name(
    plane: Plane, more: dict[str, Any], names: str
) -> None:
    with pytest.raises(ValidationError, match=f"leave out {names}$|leave out {names} "):
        plane.link("gre0", "gre", fallback=True, **more)
    assert plane.datapath.links == {}


@pytest.mark.conformance("B22")
def test_it_can_not_be_changed_nor_made_of_another(plane: Plane) -> None:
    plane.link("gre0", "gre", fallback=True)
    plane.link("gre1", "gre", local=A, remote=B)
    for name, more in (("gre0", {"local": A, "remote": C}), ("gre0", {"fallback": True, "mtu": 1000}),
                       ("gre1", {"fallback": True})):  # fmt: skip
        with pytest.raises(LinkError) as caught:
            plane.change_link(name, **more)
        assert caught.value.errno == errno.EINVAL
    assert sent_to(plane, C) == "gre0"


@pytest.mark.conformance("B23")
def test_it_can_not_be_deleted_before_the_dataplane_ends(plane: Plane) -> None:
    plane.link("gre0", "gre", fallback=True)
    with pytest.raises(LinkError, match="goes with the dataplane") as caught:
        plane.remove_link("gre0")
    assert caught.value.errno == errno.EPERM
    assert sent_to(plane) == "gre0"
    plane._runner.run(plane.datapath.remove_link("gre0", is_end=True))
    assert plane.datapath.links == {}
    assert sent_to(plane) == ""


@pytest.mark.conformance("A13", "B25")
def test_it_is_shown_with_the_kernels_values(plane: Plane) -> None:
    """`ip -d link show gre0`: remote any local any ttl inherit nopmtudisc."""
    info = plane.link("gre0", "gre", fallback=True).fill_info()
    assert info["fallback"] is True
    assert (info["local"], info["remote"], info["ikey"], info["iflags"]) == ("any", "any", None, [])
    assert (info["ttl"], info["pmtudisc"], info["flags"]) == ("inherit", False, ["NOARP", "UP"])


@pytest.mark.conformance("D8", "L18")
def test_kinds_over_ipv6_have_one_too(make_plane: MakePlane) -> None:
    from vdp.testing.builders import ipv6

    plane = make_plane(plugins=("ip6gre",))
    plane.port("underlay", L3)
    plane.link("one", "ip6gre", local="2001:db8::1", remote="2001:db8::2")
    plane.link("ip6gre0", "ip6gre", fallback=True)
    plane.send("underlay", ipv6("2001:db8::9", "2001:db8::1", gre(INNER, key=5), next_header=47))
    assert plane.counters("ip6gre0")["rx_packets"] == 1
