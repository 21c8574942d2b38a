"""What MPLS in GRE takes from which stack, what it drops, and what it sends.  Scapy says what is right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from vdp.api import LinkError, PacketType
from vdp.testing import Dataplane, assert_trace, check_soundness
from vdp.testing.builders import ethernet, icmp, ipv4, udp, vlan
from vdp.testing.strategies import broken, gre_packets, headers, joined, patient

from vdp_mpls.headers import MPLS_MULTICAST, MPLS_UNICAST, ControlWord, StackEntry
from vdp_mpls.samples import (
    FRAME,
    INNER,
    INNER6,
    LOCAL,
    PIPE,
    PLAIN_WIRE,
    REMOTE,
    VPN,
    WIRE,
    arrange,
    packet,
    samples,
    stack,
)


@pytest.fixture
def ready(plane: Dataplane) -> Dataplane:
    arrange(plane)
    return plane


def routed(data: bytes, ttl: int) -> bytes:
    """An IP packet with another TTL and a good checksum, as scapy makes it."""
    ip: Any = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    if isinstance(ip, IP):
        ip.ttl = ttl
        del ip.chksum
    else:
        ip.hlim = ttl
    return bytes(ip)


def sent(plane: Dataplane, port: str, data: bytes) -> Any:
    """What leaves by the underlay of one packet, decoded by scapy."""
    plane.send(port, data)
    (out,) = plane.received("underlay")
    return IP(out)


def labels(decoded: Any) -> list[tuple[int, int, int, int]]:
    """Label, traffic class, bottom and TTL of each MPLS layer."""
    layers = (decoded.getlayer(MPLS, number) for number in range(1, 20))
    return [(layer.label, layer.cos, layer.s, layer.ttl) for layer in layers if layer is not None]


# -- received -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "payload", "out", "expected"),
    [
        (stack(VPN), INNER, "vpn", routed(INNER, 63)),
        (stack(VPN), INNER6, "vpn", routed(INNER6, 63)),
        (stack(PIPE), INNER, "pipe", INNER),
        (stack(PIPE), INNER6, "pipe", INNER6),
        (stack(WIRE), ControlWord.pack(sequence=7) + FRAME, "wire", FRAME),
        (stack(PLAIN_WIRE), FRAME, "plain-wire", FRAME),
        (stack(0), INNER, "gre1", routed(INNER, 63)),
        (stack(2), INNER6, "gre1", routed(INNER6, 63)),
        (stack(0, PIPE), INNER, "pipe", INNER),
        (stack(2, 0, PIPE), INNER6, "pipe", INNER6),
        (stack(PIPE, 7, 70000), INNER, "pipe", INNER),
        (stack(7, 70000, PIPE), INNER, "pipe", INNER),
    ],
    ids=[
        *("ipv4", "ipv6", "pipe", "pipe-ipv6", "control-word", "frame", "null-ipv4", "null-ipv6"),
        *("null-above", "nulls-above", "entropy-below", "entropy-above"),
    ],
)
def test_what_the_stack_stands_for_comes_out_of_its_link(
    ready: Dataplane, labels: bytes, payload: bytes, out: str, expected: bytes
) -> None:
    ready.send("underlay", packet(labels, payload))
    assert ready.received(f"lan-{out}") == [expected]
    assert ready.counters(out)["rx_packets"] == 1


def test_scapys_packets_are_taken(ready: Dataplane) -> None:
    made = IP(src=REMOTE, dst=LOCAL) / GRE() / MPLS(label=PIPE, cos=3, s=1, ttl=7)
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / b"by scapy"
    made[GRE].proto = MPLS_UNICAST
    ready.send("underlay", bytes(made / inner))
    assert ready.received("lan-pipe") == [bytes(inner)]


@pytest.mark.vdp("gre", "mpls", settings={"mpls": {"pop": [17, 18], "depth": 3}})
@pytest.mark.parametrize(
    ("labels", "out"),
    [((17, PIPE), "pipe"), ((17, 18, PIPE), "pipe"), ((17,), "gre1"), ((17, 18, 17, PIPE), "")],
)
def test_labels_of_the_node_itself_are_taken_off(plane: Dataplane, labels: tuple[int, ...], out: str) -> None:
    arrange(plane)
    plane.send("underlay", packet(stack(*labels)))
    arrived = [name for name in plane.datapath.links if plane.received(f"lan-{name}")]
    assert arrived == ([out] if out else [])
    assert plane.drops("underlay") == ({} if out else {"plugin_mpls_stack": 1})


@pytest.mark.parametrize(
    ("labels", "payload", "reason"),
    [
        (stack(4711), INNER, "label"),
        (stack(1, VPN), INNER, "reserved"),
        (stack(3), INNER, "reserved"),
        (stack(14), INNER, "reserved"),
        (stack(VPN, PIPE), INNER, "stack"),
        (stack(7), INNER, "stack"),
        (stack(*[0] * 9), INNER, "stack"),
        (stack(VPN, ttl=1), INNER, "ttl"),
        (stack(VPN, ttl=0), INNER6, "ttl"),
        (stack(PIPE, ttl=1), INNER, "ttl"),
        (stack(WIRE, ttl=1), ControlWord.pack() + FRAME, "ttl"),
        (stack(VPN), b"\x50" + INNER[1:], "payload"),
        (stack(VPN), b"\x44" + INNER[1:], "payload"),
        (stack(VPN), INNER[:8] + b"\x08" + INNER[9:], "payload"),
        (stack(2), INNER, "payload"),
        (stack(WIRE), ControlWord.pack(first=1) + FRAME, "control_word"),
    ],
)
def test_what_is_dropped_is_dropped_for_its_own_reason(
    ready: Dataplane, labels: bytes, payload: bytes, reason: str
) -> None:
    ready.send("underlay", packet(labels, payload))
    assert ready.drops("underlay") == {f"plugin_mpls_{reason}": 1}


def test_a_stack_that_is_cut_short_is_truncated(ready: Dataplane) -> None:
    ready.send("underlay", packet(stack(0, bottom=False) + b"\0\0", b"\0\0"))
    assert ready.drops("underlay") == {"parse_truncated": 1}


@pytest.mark.vdp("mpls")
def test_without_the_plugin_gre_an_explicit_null_is_nobodys(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("vpn", "mpls", label=VPN, local=LOCAL, remote=REMOTE)
    plane.send("underlay", packet(stack(0)))
    assert plane.drops("underlay") == {"plugin_mpls_label": 1}


@pytest.mark.parametrize("more", [{"key": 5}, {"sequence": 5}])
def test_a_key_or_a_sequence_number_is_not_mpls_in_gre(ready: Dataplane, more: dict[str, Any]) -> None:
    assert_trace(ready, "underlay", packet(stack(VPN), **more), verdicts={"mpls_gre_rcv": "reject"})


def test_multicast_is_taken_too(ready: Dataplane) -> None:
    ready.send("underlay", packet(stack(PIPE), protocol=MPLS_MULTICAST))
    assert ready.received("lan-pipe") == [INNER]


# -- what becomes a megaflow ------------------------------------------------------------------


def test_traffic_class_and_ttl_of_a_label_make_no_megaflow_more(ready: Dataplane) -> None:
    assert_trace(
        ready,
        "underlay",
        packet(stack(VPN)),
        output="vpn",
        guards={"StackEntry.label": VPN, "StackEntry.bottom": 1},
        wildcards=["StackEntry.tc", "StackEntry.ttl", "IPv4.ttl"],
    )
    ready.send("underlay", packet(stack(VPN)))
    seen = ready.upcalls
    ready.send("underlay", *(packet(stack(VPN, ttl=ttl, tc=ttl % 8)) for ttl in range(2, 256)))
    assert ready.upcalls == seen
    assert sorted(IP(data).ttl for data in ready.received("lan-vpn")) == sorted([63, *range(1, 255)])


def test_in_the_pipe_model_all_ttls_are_a_few_megaflows(ready: Dataplane) -> None:
    ready.send("underlay", packet(stack(PIPE)))
    seen = ready.upcalls
    for ttl in range(256):
        ready.send("underlay", packet(stack(PIPE, ttl=ttl)))
    assert ready.upcalls - seen == 7, "2 to 3, 4 to 7 … 128 to 255, and what is spent; 64 to 127 is known"
    assert len(ready.received("lan-pipe")) == 1 + 254
    assert ready.drops("underlay") == {"plugin_mpls_ttl": 2}


# -- sent -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "data", "expected"),
    [
        ("lan-vpn", INNER, [(16, 0, 0, 9), (200, 0, 1, 9)]),
        ("lan-vpn", INNER6, [(16, 0, 0, 9), (200, 0, 1, 9)]),
        ("lan-vpn", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), tos=46 << 2), [(16, 5, 0, 64), (200, 5, 1, 64)]),
        ("lan-pipe", INNER, [(PIPE, 5, 1, 255)]),
        ("lan-plain-wire", FRAME, [(PLAIN_WIRE, 0, 1, 255)]),
    ],
)
def test_what_is_sent_has_the_labels_and_the_packet_behind_them(
    ready: Dataplane, port: str, data: bytes, expected: list[tuple[int, int, int, int]]
) -> None:
    out = sent(ready, port, data)
    assert (out.src, out.dst, out[GRE].proto) == (LOCAL, REMOTE, MPLS_UNICAST)
    assert labels(out) == expected
    assert bytes(out).endswith(data)
    assert len(out) == 24 + 4 * len(expected) + len(data)


def test_a_pseudowire_has_its_control_word_and_the_priority_of_the_frame(ready: Dataplane) -> None:
    frame = vlan(ethernet(INNER), vid=5, priority=6)
    out = sent(ready, "lan-wire", frame)
    assert labels(out) == [(WIRE, 6, 1, 255)]
    assert bytes(out).endswith(ControlWord.pack() + frame)


@pytest.mark.parametrize(("data", "label"), [(INNER, 0), (INNER6, 2)])
def test_explicit_null_is_that_of_the_packets_version(plane: Dataplane, data: bytes, label: int) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("null", "mpls", label=0, push=[16, 0], local=LOCAL, remote=REMOTE)
    plane.connect("lan", "null")
    assert labels(sent(plane, "lan", data)) == [(16, 0, 0, 9), (label, 0, 1, 9)]
    plane.send("underlay", packet(stack(label), data))
    assert plane.received("lan") == [routed(data, 63)]


def test_only_ip_goes_behind_labels(ready: Dataplane) -> None:
    ready.send("lan-vpn", b"\x50" + INNER[1:])
    assert ready.drops("lan-vpn") == {"protocol_unsupported": 1}


def test_there_and_back_is_the_same_packet(ready: Dataplane) -> None:
    """Uniform: one hop less; pipe, and frames: as it was."""
    for name, data, expected in (("pipe", INNER, INNER), ("wire", FRAME, FRAME), ("pipe", INNER6, INNER6)):
        out = sent(ready, f"lan-{name}", data)
        out.src, out.dst = out.dst, out.src
        del out.chksum
        ready.send("underlay", bytes(out))
        assert ready.received(f"lan-{name}") == [expected]


def test_the_labels_are_part_of_the_headers_size(ready: Dataplane) -> None:
    links = ready.datapath.links
    assert [links[name].mtu for name in ("gre1", "pipe", "vpn", "plain-wire", "wire")] == [
        1476, 1472, 1468, 1458, 1454,
    ]  # fmt: skip


def test_what_a_link_says_of_itself_is_what_makes_it_again(ready: Dataplane) -> None:
    said = ready.datapath.links["vpn"].fill_info()
    assert {name: said[name] for name in ("label", "push", "tc", "label_ttl", "ttl_model")} == {
        "label": VPN, "push": [16, 200], "tc": "inherit", "label_ttl": 255, "ttl_model": "uniform",
    }  # fmt: skip
    assert not {"ikey", "oflags", "fallback"} & said.keys()
    assert ready.datapath.links["vpn"].configuration() == {
        "label": VPN, "push": [16, 200], "local": LOCAL, "remote": REMOTE,
    }  # fmt: skip
    assert ready.datapath.links["wire"].fill_info()["control_word"] is True


def test_an_icmp_error_finds_the_link_by_the_label_that_it_quotes(ready: Dataplane) -> None:
    out = sent(ready, "lan-vpn", INNER)
    complaint = ipv4("203.0.113.1", LOCAL, icmp(3, 1, payload=bytes(out)[:28]), protocol=1)
    ready.send("underlay", complaint)
    assert {name: link.errors.count for name, link in ready.datapath.links.items() if link.errors} == {
        "vpn": 1, "pipe": 0, "wire": 0, "plain-wire": 0, "gre1": 0,
    }  # fmt: skip


@pytest.mark.parametrize("data", [INNER, INNER6])
def test_an_icmp_error_about_explicit_null_finds_its_link_too(plane: Dataplane, data: bytes) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("null", "mpls", label=0, local=LOCAL, remote=REMOTE)
    plane.connect("lan", "null")
    out = sent(plane, "lan", data)
    plane.send("underlay", ipv4("203.0.113.1", LOCAL, icmp(3, 1, payload=bytes(out)[:28]), protocol=1))
    errors = plane.datapath.links["null"].errors
    assert errors is not None
    assert errors.count == 1


def test_to_a_group_it_is_multicast(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("group", "mpls", label=VPN, local=LOCAL, remote="239.0.0.1")
    plane.connect("lan", "group")
    assert sent(plane, "lan", INNER)[GRE].proto == MPLS_MULTICAST


# -- configured -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("mpls", {"label": 15}, "15 is a reserved label"),
        ("mpls", {"label": 20, "push": [3]}, "push: 3 is a reserved label"),
        ("mpls", {"label": 1 << 20}, "less than or equal to 1048575"),
        ("mplstap", {"label": 0}, "a frame needs a label"),
        ("mplstap", {"label": 20, "push": [20, 0]}, "a frame needs a label"),
        ("mpls", {"label": 20, "fallback": True}, "leave out fallback"),
        ("mpls", {"label": VPN}, "vpn has the same"),
        ("mplstap", {"label": VPN}, "vpn has the same"),
        ("mpls", {"label": WIRE}, "wire has the same"),
    ],
)
def test_labels_that_can_not_be_are_refused(
    ready: Dataplane, kind: str, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises((ValueError, LinkError), match=words):
        ready.link("new", kind, local=LOCAL, remote=REMOTE, **parameters)


def test_a_link_gets_another_label_while_it_runs(ready: Dataplane) -> None:
    ready.send("underlay", packet(stack(PIPE)))
    ready.change_link("pipe", label=500, local=LOCAL, remote=REMOTE, ttl_model="pipe")
    ready.send("underlay", packet(stack(PIPE)), packet(stack(500)))
    assert ready.received("lan-pipe") == [INNER, INNER]
    assert ready.drops("underlay") == {"plugin_mpls_label": 1}
    with pytest.raises(LinkError, match="wire has the same"):
        ready.change_link("pipe", label=WIRE, local=LOCAL, remote=REMOTE)


# -- sound --------------------------------------------------------------------------------------


def test_it_is_sound(plane: Dataplane) -> None:
    for port, data in samples(plane):
        check_soundness(plane.datapath, port, data)


@patient
@given(
    broken(
        gre_packets(
            joined(st.sampled_from([b"", stack(0, bottom=False)]), headers(StackEntry), INNER),
            protocol=MPLS_UNICAST,
        )
    )
)
def test_no_broken_packet_hurts(ready: Dataplane, data: bytes) -> None:
    ready.send("underlay", data)
