"""Sequence numbers of links: iseq and oseq, seq_state, seq_window, seq_start; over IPv4 and IPv6."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE

from tests.engine.conftest import refused
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.links.parameters import TunnelParameters
from vdp.testing.builders import gre, ipv4, ipv6, udp

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
A6, B6 = "2001:db8::a", "2001:db8::b"
LAST = 0xFFFFFFFF


@dataclass
class Tunnel:
    """One link between an underlay and an inner port."""

    plane: Plane
    version: int
    name: str = "link1"

    def parameters(self, **more: Any) -> dict[str, Any]:
        local, remote = (A, B) if self.version == 4 else (A6, B6)
        return {"local": local, "remote": remote, "seq": True, **more}

    def receive(self, *numbers: int | None) -> int:
        """Packets of these numbers come in, None without one; how many get through."""
        packets = [gre(INNER, sequence=None if n is None else n % (1 << 32)) for n in numbers]
        if self.version == 4:
            outer = [ipv4(B, A, packet, protocol=47) for packet in packets]
        else:
            outer = [ipv6(B6, A6, packet, next_header=47) for packet in packets]
        self.plane.send("underlay", *outer)
        return len(self.plane.received("inner"))

    def sent(self, count: int) -> list[int]:
        """The numbers of packets that go out."""
        self.plane.send("inner", *[INNER] * count)
        kind = IP if self.version == 4 else IPv6
        return [kind(data)[GRE].sequence_number for data in self.plane.received("underlay")]

    @property
    def errors(self) -> int:
        return self.plane.counters(self.name)["rx_fifo_errors"]


MakeTunnel = Callable[..., Tunnel]


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def make_tunnel(request: pytest.FixtureRequest, make_plane: MakePlane) -> Iterator[MakeTunnel]:
    """A tunnel by its parameters."""

    def make(**parameters: Any) -> Tunnel:
        plane = make_plane(("gre", "ip6gre"))
        tunnel = Tunnel(plane, request.param)
        plane.port("underlay", L3)
        plane.port("inner", L3)
        kind = "gre" if tunnel.version == 4 else "ip6gre"
        plane.link(tunnel.name, kind, **tunnel.parameters(**parameters))
        plane.connect(tunnel.name, "inner")
        return tunnel

    return make


@pytest.mark.conformance("E3")
def test_without_a_number_or_with_an_old_one_it_is_dropped(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    assert tunnel.receive(5, None, 5, 4, 6, 100, 99) == 3
    counters = tunnel.plane.counters(tunnel.name)
    assert (counters["rx_fifo_errors"], counters["rx_errors"], counters["rx_packets"]) == (4, 4, 3)
    assert tunnel.plane.all_drops() == {"tunnel_sequence": 4}


@pytest.mark.conformance("E4")
def test_linux_forgets_all_at_the_wrap(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    assert tunnel.receive(LAST, 0x90000000, 0x80000000) == 2


@pytest.mark.conformance("E4")
def test_explicit_forgets_nothing_at_the_wrap(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(seq_state="explicit")
    assert tunnel.receive(LAST, 0x90000000, LAST, 0, 1, 0) == 3


@pytest.mark.conformance("E4")
@pytest.mark.parametrize("state", ["linux", "explicit"])
def test_a_window_lets_late_packets_pass_once(make_tunnel: MakeTunnel, state: str) -> None:
    tunnel = make_tunnel(seq_state=state, seq_window=3)
    assert tunnel.receive(100, 97, 98, 96, 98, 99, 100, 101, 97, 104, 101, 102, 103) == 8
    assert tunnel.errors == 5


@pytest.mark.conformance("E4")
def test_what_is_late_is_passed_on_when_it_comes(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(seq_window=64)
    numbers = [10, 12, 11, 14, 13]
    payloads = [ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes([n]))) for n in numbers]
    wrap = [ipv4(B, A, gre(p, sequence=n), protocol=47) for p, n in zip(payloads, numbers, strict=True)]
    if tunnel.version == 6:
        wrap = [
            ipv6(B6, A6, gre(p, sequence=n), next_header=47) for p, n in zip(payloads, numbers, strict=True)
        ]
    tunnel.plane.send("underlay", *wrap)
    assert tunnel.plane.received("inner") == payloads


@pytest.mark.conformance("G4")
@pytest.mark.parametrize("start", [None, 0, 1, LAST])
def test_the_first_number_sent(make_tunnel: MakeTunnel, start: int | None) -> None:
    tunnel = make_tunnel() if start is None else make_tunnel(seq_start=start)
    first = 1 if start is None else start
    assert tunnel.sent(3) == [(first + n) % (1 << 32) for n in range(3)]


@pytest.mark.conformance("E4", "G4")
def test_numbers_outlive_a_pause_and_a_change(make_tunnel: MakeTunnel) -> None:
    """Neither closing the device nor ip_tunnel_changelink touches i_seqno and o_seqno."""
    tunnel = make_tunnel()
    assert tunnel.receive(10) == 1
    assert tunnel.sent(2) == [1, 2]
    tunnel.plane.datapath.set_link_up(tunnel.name, False)
    tunnel.plane.datapath.set_link_up(tunnel.name, True)
    tunnel.plane.change_link(tunnel.name, **tunnel.parameters(ttl=9, seq_start=0))
    assert tunnel.receive(9, 11) == 1
    assert tunnel.sent(1) == [3]
    tunnel.plane.change_link(tunnel.name, **tunnel.parameters(seq=False))
    assert tunnel.receive(None) == 1
    tunnel.plane.change_link(tunnel.name, **tunnel.parameters())
    assert tunnel.receive(11, 12) == 1
    assert tunnel.sent(1) == [4]


@pytest.mark.conformance("E4")
@pytest.mark.parametrize("changed", [{"seq_state": "explicit"}, {"seq_window": 5}])
def test_another_rule_begins_anew(make_tunnel: MakeTunnel, changed: dict[str, Any]) -> None:
    tunnel = make_tunnel()
    assert tunnel.receive(1000) == 1
    assert tunnel.sent(1) == [1]
    tunnel.plane.change_link(tunnel.name, **tunnel.parameters(**changed))
    assert tunnel.receive(5, 5, 6) == 2
    assert tunnel.sent(1) == [2]


@pytest.mark.conformance("E4")
def test_numbers_that_were_not_asked_for_may_be(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(seq=False)
    assert tunnel.receive(5, 4) == 2
    tunnel.plane.change_link(tunnel.name, **tunnel.parameters(seq_window=5))
    assert tunnel.receive(None, 5, 4, 4) == 2


def test_no_state_is_left_of_a_link(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(seq_window=9)
    engine = tunnel.plane.engine
    tunnel.receive(1)
    tunnel.plane.change_link(tunnel.name, **tunnel.parameters(seq_window=10))
    link = tunnel.plane.datapath.links[tunnel.name]
    states = [link.input_sequence, link.output_sequence]  # type: ignore[attr-defined]
    tunnel.plane.remove_link(tunnel.name)
    for state in states:
        with refused(errno.ENOENT):
            engine.read_state(state)
    free = {engine.new_window(1) for _ in range(5)}
    assert max(free) <= 5  # all numbers from 1 on are free again


def test_what_was_said_can_be_read_back(make_tunnel: MakeTunnel) -> None:
    said = {"seq_state": "explicit", "seq_window": 64, "seq_start": 0}
    info = make_tunnel(**said).plane.datapath.links["link1"].fill_info()
    assert {name: info[name] for name in said} == said
    info = make_tunnel().plane.datapath.links["link1"].fill_info()
    assert not said.keys() & info.keys()


NEEDS = [
    ("seq_state", "explicit", "iseq"),
    ("seq_window", 64, "iseq"),
    ("seq_window", 0, "iseq"),
    ("seq_start", 0, "oseq"),
]


@pytest.mark.parametrize(("key", "value", "needed"), NEEDS)
def test_what_would_have_no_effect_is_refused(
    make_tunnel: MakeTunnel, key: str, value: Any, needed: str
) -> None:
    other = "oseq" if needed == "iseq" else "iseq"
    with pytest.raises(ValidationError, match=f"{key} without {needed}: add {needed} = true or seq = true"):
        make_tunnel(seq=False, **{key: value})
    with pytest.raises(ValidationError, match=f"{key} without {needed}"):
        TunnelParameters(**{other: True, key: value})
    TunnelParameters(**{needed: True, key: value})


@pytest.mark.parametrize("parameters", [{"seq_state": "on"}, {"seq_window": 1025}, {"seq_window": -1},
                                        {"seq_start": -1}, {"seq_start": 1 << 32}])  # fmt: skip
def test_what_makes_no_sense_is_refused(make_tunnel: MakeTunnel, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_tunnel(**parameters)
