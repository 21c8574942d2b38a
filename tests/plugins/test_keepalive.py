"""vdp_keepalive: probes that the peer sends back, and what becomes of the link."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.cli import exits, main
from vdp.forwarding.routes import Route
from vdp.links.inner import InnerSources
from vdp.testing.paths import StaticPaths
from vdp.testing.soundness import check_soundness
from vdp_keepalive.watch import Settings

PLUGINS = ("gre", "gretap", "keepalive")
INNER = bytes(IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=1, dport=2) / b"payload")
ANSWER = "plugin_keepalive_answer"

MakeEnd = Callable[..., Plane]


@pytest.fixture
def end(make_plane: MakePlane) -> MakeEnd:
    """An end of a tunnel: options of its keepalives, then parameters of its link gre1."""

    def make(
        options: dict[str, Any] | None = None, underlay: Any = L3, paths: Any = None, **parameters: Any
    ) -> Plane:
        table = {} if options is None else {"link": {"gre1": options}}
        plane = make_plane(PLUGINS, paths, {"keepalive": Settings.model_validate(table)})
        plane.port("underlay", underlay)
        plane.port("inner", L3)
        plane.link("gre1", "gre", **{"local": A, "remote": B, **parameters})
        plane.connect("gre1", "inner")
        return plane

    return make


def gre(proto: int = 0, key: int | None = None, **fields: Any) -> Any:
    keyed: dict[str, Any] = {} if key is None else {"key_present": 1, "key": key}
    return GRE(proto=proto, **keyed, **fields)


def answer(key: int | None = None, **fields: Any) -> bytes:
    """What the peer sends back."""
    return bytes(IP(src=B, dst=A, proto=47) / gre(key=key, **fields))


def probe(
    key: int | None = None, *, outer: int = 0x0800, inner: Any = None, source: str = A, to: str = B, **ip: Any
) -> bytes:
    """What the peer sends for us to send back."""
    comes_back = IP(src=source, dst=to, proto=47, ttl=255, **ip) / (gre(key=key) if inner is None else inner)
    return bytes(IP(src=B, dst=A) / gre(outer, key) / comes_back)


def gre_sent(plane: Plane) -> list[bytes]:
    """GRE that left the underlay since the last look; ICMP errors are another matter."""
    return [data for data in plane.received("underlay") if IP(data).proto == 47]


def is_up(plane: Plane) -> bool:
    return plane.datapath.links["gre1"].up


# -- answering ----------------------------------------------------------------------------


def test_who_only_responds_sends_no_probes(end: MakeEnd) -> None:
    plane = end({"respond": True})
    run(plane, 60, answered=False)
    assert gre_sent(plane) == []
    assert is_up(plane)


def test_a_link_that_is_taken_down_answers_no_more(end: MakeEnd) -> None:
    plane = end({"respond": True})
    plane.send("underlay", probe())
    assert len(gre_sent(plane)) == 1
    plane.datapath.set_link_up("gre1", False)
    plane.send("underlay", probe())
    assert gre_sent(plane) == []


@pytest.mark.parametrize("options", [None, {}, {"send": True}])
def test_nothing_is_reflected_unless_it_is_asked_for(end: MakeEnd, options: dict[str, Any] | None) -> None:
    plane = end(options)
    plane.send("underlay", probe())
    assert plane.received("underlay") == []
    assert len(plane.received("inner")) == 1
    plane.datapath.links["gre1"].change_inner(InnerSources(martians="drop"))
    plane.send("underlay", probe())
    assert plane.received("underlay") == plane.received("inner") == []
    assert plane.all_drops() == {"inner_martian": 1}  # as Linux routes: its source is our own address


@pytest.mark.conformance("L10")
@pytest.mark.parametrize("key", [None, 0, 42])
def test_a_probe_goes_back_to_its_sender(end: MakeEnd, key: int | None) -> None:
    plane = end({"respond": True}, key=key)
    sent = probe(key)
    plane.send("underlay", sent)
    wanted = IP(sent)[GRE].payload
    wanted.ttl -= 1
    del wanted.chksum
    assert plane.received("underlay") == [bytes(wanted)]
    assert plane.received("inner") == []
    assert plane.counters("gre1")["rx_packets"] == 1


@pytest.mark.conformance("L11")
@pytest.mark.parametrize(
    ("outer", "inner"),
    [(0x0004, gre(0)), (0x0800, gre(0x86DD)), (0x0800, gre(0) / b"Keepalive Request")],
    ids=["Huawei", "MikroTik", "with payload"],
)
def test_variants_are_answered(end: MakeEnd, outer: int, inner: Any) -> None:
    plane = end({"respond": True})
    plane.send("underlay", probe(outer=outer, inner=inner))
    [back] = plane.received("underlay")
    assert bytes(IP(back)[GRE]) == bytes(inner)


@pytest.mark.parametrize(
    "packet",
    [
        probe(source="10.0.0.1"),
        probe(to="10.0.0.2"),
        probe(source=B, to=A),
        probe(inner=gre(0x0800) / INNER),
        probe(inner=gre(0x86DD) / b"an IPv6 packet in a tunnel of its own"),
        probe(inner=gre(0, seqnum_present=1, sequence_number=1)),
        probe(inner=gre(0, chksum_present=1)),
        probe(inner=gre(0, version=1) / bytes(8)),
        probe(inner=b""),
        probe(inner=b"\0\0\0"),
        bytes(IP(src=B, dst=A) / gre(0x0800) / probe()[24:32]),
        bytes(IP(src=B, dst=A) / gre(0x0800) / INNER),
    ],
)
def test_what_is_no_probe_is_payload(end: MakeEnd, packet: bytes) -> None:
    plane = end({"respond": True})
    plane.send("underlay", packet)
    assert plane.received("underlay") == []
    assert len(plane.received("inner")) == 1


def test_only_the_peer_of_the_link_is_answered(end: MakeEnd) -> None:
    plane = end({"respond": True}, key=1)
    stranger = IP(probe(1))
    stranger.src = "192.0.2.99"
    stranger[GRE].payload.dst = "192.0.2.99"
    for layer in (stranger, stranger[GRE].payload):
        del layer.chksum
    plane.send("underlay", bytes(stranger), probe(2), probe())
    assert gre_sent(plane) == []
    assert plane.all_drops() == {"tunnel_no_link": 3}


def test_what_goes_back_is_no_longer_than_it_says(end: MakeEnd) -> None:
    plane = end({"respond": True})
    plane.send("underlay", probe(len=24, inner=gre(0) / b"not part of it"))
    [back] = plane.received("underlay")
    assert len(back) == 24


@pytest.mark.parametrize(
    ("ip", "reason"),
    [({"ttl": 1}, "ttl_expired"), ({"chksum": 1}, "ip_checksum"), ({"len": 1000}, "parse_bad_length")],
)
def test_a_router_would_not_forward_it_either(end: MakeEnd, ip: dict[str, int], reason: str) -> None:
    plane = end({"respond": True})
    packet = IP(probe())
    inner = packet[GRE].payload
    for name, value in ip.items():
        setattr(inner, name, value)
    if "chksum" not in ip:
        del inner.chksum
    plane.send("underlay", bytes(packet))
    assert plane.received("underlay") == []
    assert plane.all_drops() == {reason: 1}


def test_over_ethernet_it_goes_to_the_next_hop(end: MakeEnd) -> None:
    plane = end({"respond": True}, underlay=L2)
    plane.send("underlay", bytes(Ether() / IP(probe())))
    [back] = plane.received("underlay")
    assert Ether(back)[IP].dst == B


def test_a_link_that_is_configured_down_answers_nobody(end: MakeEnd) -> None:
    plane = end({"respond": True}, up=False)
    plane.send("underlay", probe())
    assert gre_sent(plane) == []


def test_what_is_received_is_sound(end: MakeEnd) -> None:
    plane = end({"respond": True, "send": True})
    plane.send("underlay", probe())  # the way is known from here on
    packets = [
        probe(),
        probe(outer=4),
        probe(inner=gre(0x86DD)),
        probe(source="10.0.0.1"),
        probe(key=3),
        answer(),
        answer(key=3),
        answer() + bytes(22),
        bytes(IP(src=B, dst=A) / gre(0x0800) / INNER),
    ]
    check_soundness(plane.datapath, "underlay", *packets, chance=random.Random(3))


# -- probing ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, 42])
def test_a_probe_carries_its_answer(end: MakeEnd, key: int | None) -> None:
    plane = end({"send": True}, key=key)
    plane.pass_time(1)
    [sent] = plane.received("underlay")
    outer = IP(sent)
    assert (outer.src, outer.dst, outer.ttl) == (A, B, 255)
    assert bytes(outer[GRE]).startswith(bytes(gre(0x0800, key)))
    inner = bytes(outer[GRE].payload)
    assert inner == bytes(IP(src=B, dst=A, proto=47, ttl=255, tos=0xC0, id=0) / gre(0, key))


@pytest.mark.conformance("L10")
def test_probes_go_out_by_the_interval(end: MakeEnd) -> None:
    plane = end({"send": True, "interval_s": 5})
    count = 0
    for _ in range(21):
        plane.pass_time(1)
        plane.send("underlay", *[answer()] * len(sent := plane.received("underlay")))
        count += len(sent)
    assert count == 5
    assert is_up(plane)


@pytest.mark.conformance("C1", "L11")
@pytest.mark.parametrize(("underlay", "padding"), [(L3, 0), (L2, 22)])
@pytest.mark.parametrize("key", [None, 42])
def test_an_answer_is_counted_though_it_is_shorter_than_gre_rcv_takes(
    end: MakeEnd, underlay: Any, padding: int, key: int | None
) -> None:
    plane = end({"send": True}, underlay=underlay, key=key)
    packet = answer(key)
    plane.send("underlay", bytes(Ether() / IP(packet)) + bytes(padding) if underlay is L2 else packet)
    assert plane.all_drops() == {ANSWER: 1}


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (answer(key=1), "tunnel_short"),
        (bytes(IP(src="192.0.2.99", dst=A, proto=47) / gre()), "tunnel_short"),
        (answer(proto=1), "tunnel_short"),
        (answer(version=1), "tunnel_short"),
        (bytes(IP(src=B, dst=A, proto=47) / b"\0\0\0"), "tunnel_short"),
        (bytes(IP(src=B, dst=A, proto=47) / gre(key=1))[:-1], "parse_bad_length"),
    ],
)
def test_what_is_no_answer_is_left_to_gre_rcv(end: MakeEnd, packet: bytes, reason: str) -> None:
    plane = end({"send": True})
    plane.send("underlay", packet)
    assert plane.all_drops() == {reason: 1}


def run(plane: Plane, seconds: int, answered: bool) -> None:
    """Let time pass; the peer sends back what it gets, or not."""
    for _ in range(seconds):
        plane.pass_time(1)
        for sent in plane.received("underlay"):
            if answered:
                plane.send("underlay", bytes(IP(sent)[GRE].payload))


@pytest.mark.conformance("L10")
def test_silence_takes_the_link_down_and_an_answer_brings_it_up(
    end: MakeEnd, caplog: pytest.LogCaptureFixture
) -> None:
    plane = end({"send": True})
    run(plane, 60, answered=True)
    assert is_up(plane)
    run(plane, 30, answered=False)  # the third probe still has time
    assert is_up(plane)
    run(plane, 10, answered=False)
    assert not is_up(plane)
    assert caplog.messages == ["gre1: 3 keepalives without an answer: down"]
    plane.send("underlay", bytes(IP(src=B, dst=A) / gre(0x0800) / INNER))
    plane.send("inner", INNER)
    assert plane.received("inner") == []
    assert gre_sent(plane) == []
    assert plane.all_drops()["link_down"] == 1
    run(plane, 11, answered=True)
    assert is_up(plane)
    plane.send("inner", INNER)
    assert len(plane.received("underlay")) == 1


def test_two_ends_that_were_cut_find_each_other_again(end: MakeEnd) -> None:
    """Each answers the other though its own link is down."""
    options = {"send": True, "respond": True, "interval_s": 2, "retries": 2}
    ends = [end(options), end(options, local=B, remote=A)]

    def pass_time(seconds: int, cut: bool = False) -> None:
        for _ in range(seconds):
            for plane in ends:
                plane.pass_time(1)
            for _ in range(2):
                for plane, other in (ends, ends[::-1]):
                    frames = plane.received("underlay")
                    if not cut:
                        other.send("underlay", *frames)

    pass_time(20)
    assert [is_up(plane) for plane in ends] == [True, True]
    pass_time(20, cut=True)
    assert [is_up(plane) for plane in ends] == [False, False]
    pass_time(20)
    assert [is_up(plane) for plane in ends] == [True, True]


def test_routes_leave_a_link_that_is_down(make_plane: MakePlane) -> None:
    settings = Settings.model_validate({"link": {"gre1": {"send": True}}})
    plane = make_plane(PLUGINS, None, {"keepalive": settings})
    plane.port("underlay", L3)
    plane.port("inner", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.link("gre2", "gre", local=A, remote="192.0.2.3")
    network = IPv4Network("10.0.0.0/8")
    plane.route(Route(network, "gre1", 1), Route(network, "gre2", 2))
    plane.send("inner", INNER)
    assert [IP(data).dst for data in plane.received("underlay")] == [B]
    run(plane, 60, answered=False)
    plane.send("inner", INNER)
    assert [IP(data).dst for data in plane.received("underlay")] == ["192.0.2.3"]


def test_a_link_that_is_configured_down_stays_so_and_is_not_probed(end: MakeEnd) -> None:
    plane = end({"send": True}, up=False)
    plane.pass_time(1)
    plane.send("underlay", answer())
    plane.pass_time(1)
    assert plane.received("underlay") == []
    assert not is_up(plane)


def test_a_next_hop_that_is_silent_counts_as_silence(end: MakeEnd) -> None:
    plane = end({"send": True}, underlay=L2, paths=StaticPaths(silent={IPv4Address(B)}))
    run(plane, 60, answered=False)
    assert not is_up(plane)


def test_a_link_that_comes_and_goes_is_probed_while_it_is_there(end: MakeEnd) -> None:
    plane = end({"send": True, "interval_s": 1})
    plane.remove_link("gre1")
    run(plane, 3, answered=False)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.pass_time(1)
    assert len(plane.received("underlay")) == 1
    plane.send("underlay", answer())
    assert plane.all_drops()[ANSWER] == 1


# -- over IPv6 ----------------------------------------------------------------------------

A6, B6 = "2001:db8::1", "2001:db8::2"


@pytest.fixture
def end6(make_plane: MakePlane) -> MakeEnd:
    """The same over IPv6."""

    def make(options: dict[str, Any], local: str = A6, remote: str = B6, **parameters: Any) -> Plane:
        settings = Settings.model_validate({"link": {"gre1": options}})
        plane = make_plane((*PLUGINS, "ip6gre"), None, {"keepalive": settings})
        plane.port("underlay", L3)
        plane.port("inner", L3)
        plane.link("gre1", "ip6gre", local=local, remote=remote, **parameters)
        plane.connect("gre1", "inner")
        return plane

    return make


def probe6(proto: int = 0, tail: bytes = b"", outer: int = 0x86DD, **fields: Any) -> bytes:
    inner = IPv6(**{"src": A6, "dst": B6, "nh": 47, "hlim": 255, **fields}) / gre(proto) / tail
    return bytes(IPv6(src=B6, dst=A6) / gre(outer) / inner)


@pytest.mark.parametrize("proto", [0, 0x86DD], ids=["Cisco", "MikroTik"])
def test_a_probe_over_ipv6_goes_back_to_its_sender(end6: MakeEnd, proto: int) -> None:
    plane = end6({"respond": True})
    plane.send("underlay", probe6(proto))
    [back] = plane.received("underlay")
    assert back == bytes(IPv6(src=A6, dst=B6, nh=47, hlim=254) / gre(proto))


@pytest.mark.parametrize(
    "packet",
    [
        probe6(src="2001:db8::9"),
        probe6(dst="2001:db8::9"),
        probe6(0x86DD, tail=bytes(40)),
        probe6(nh=17),
        probe6(version=4),
        probe6(outer=0x0800),
        probe6()[:-1],
    ],
)
def test_what_is_no_probe_over_ipv6_is_not_sent_back(end6: MakeEnd, packet: bytes) -> None:
    plane = end6({"respond": True})
    plane.send("underlay", packet)
    assert [data for data in plane.received("underlay") if data[6] == 47] == []


@pytest.mark.parametrize(
    ("fields", "reason"), [({"hlim": 1}, "ttl_expired"), ({"plen": 1000}, "parse_bad_length")]
)
def test_a_router_would_not_forward_it_over_ipv6_either(
    end6: MakeEnd, fields: dict[str, Any], reason: str
) -> None:
    plane = end6({"respond": True})
    plane.send("underlay", probe6(**fields))
    assert plane.all_drops() == {reason: 1}


def test_no_probes_are_sent_over_ipv6(end6: MakeEnd) -> None:
    plane = end6({"send": True, "respond": True})
    run(plane, 60, answered=False)
    assert plane.received("underlay") == []
    assert is_up(plane)
    assert plane.all_drops() == {}


def test_what_is_received_over_ipv6_is_sound(end6: MakeEnd) -> None:
    plane = end6({"respond": True, "send": True})
    plane.send("underlay", probe6())  # the way is known from here on
    packets = [
        probe6(),
        probe6(0x86DD),
        probe6(0x86DD, tail=bytes(40)),
        probe6(src="2001:db8::9"),
        bytes(IPv6(src=B6, dst=A6, nh=47) / gre()),
        bytes(IPv6(src=B6, dst=A6, nh=47) / gre(key=3)),
    ]
    check_soundness(plane.datapath, "underlay", *packets, chance=random.Random(3))


# -- configured ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        {"gre1": {"send": True}},
        {"link": {"gre1": {"interval_s": 0}}},
        {"link": {"gre1": {"retries": 0}}},
        {"link": {"gre1": {"send": 1}}},
        {"link": {"gre1": {"reflect": True}}},
    ],
)
def test_what_makes_no_sense_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)


@pytest.mark.conformance("L10")
def test_the_interval_is_ten_seconds_and_three_times(end: MakeEnd) -> None:
    options = Settings.model_validate({"link": {"gre1": {}}}).link["gre1"]
    assert (options.send, options.respond, options.interval_s, options.retries) == (False, False, 10, 3)


def test_a_link_that_can_have_none_is_named_at_the_start(
    make_plane: MakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    table = {name: {"send": True} for name in ("gre1", "tap", "nowhere")}
    settings = Settings.model_validate({"link": table})
    plane = make_plane(PLUGINS, None, {"keepalive": settings})
    plane.port("underlay", L3)
    plane.link("gre1", "gre", remote=B)
    plane.link("tap", "gretap", local=A, remote=B)
    with caplog.at_level(logging.ERROR):
        plane.datapath.plugins.call("vdp_start", datapath=plane.datapath)
    assert [line.split(": ")[1] for line in caplog.messages] == ["gre1", "tap", "nowhere"]
    plane.pass_time(1)
    assert plane.received("underlay") == []


def test_a_table_for_a_link_that_is_not_there_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vdp.toml"
    path.write_text("""
plugins.load = ["gre", "keepalive"]
[[port]]
name = "u"
type = "raw"
protocol = "gre"
[[link]]
name = "gre1"
kind = "gre"
underlay = "u"
remote = "192.0.2.2"
[plugin.keepalive.link.gre1]
respond = true
[plugin.keepalive.link.gre9]
send = true
""")
    assert main(["check", "-c", str(path)]) == exits.CONFIG
    said = capsys.readouterr().err
    assert said.startswith(f'{path}:14:1: error: plugin.keepalive.link.gre9: found "gre9", expected')
    path.write_text(path.read_text().replace("gre9", "u"))
    assert main(["check", "-c", str(path)]) == exits.CONFIG
    assert 'found "u", a port, expected the name of a link' in capsys.readouterr().err
