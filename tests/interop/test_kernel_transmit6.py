"""What goes out over IPv6, and how links are configured: the kernel's ip6gre and ip6gretap, and vdp's.

What differs, and why, is in DIFFERENCES and CONFIGURATIONS (tests.interop.compare), and is asserted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.interop import hostile, hostile6
from tests.interop.compare import ALL, Difference, check, run_configurations
from tests.interop.configured import ConfigurationDifference
from tests.interop.hostile import CSUM, KEY, OPTIONS, letters
from tests.interop.hostile6 import KINDS, spec
from tests.interop.kernel import GUEST_ADDRESS6
from tests.interop.oracle import KernelOracle, LinkSpec, Outcome, VdpOracle

pytestmark = [pytest.mark.root, pytest.mark.timeout(180), pytest.mark.conformance("L18")]

DIFFERENCES = [
    Difference(
        "anylocal *", "B10",
        "a tunnel of Linux over IPv6 without a local address sends nothing (ip6_tnl_xmit_ctl); vdp takes the"
        " route's source address, as either does over IPv4",
        kernel={"tx_errors": ALL, "tx_dropped": ALL}, vdp={"sent": ALL, "tx_packets": ALL},
    ),
    Difference(
        "notmine *", "G13",
        "Linux over IPv6 sends from an address that the host has, only; vdp's tunnels can have addresses of"
        " their own",
        kernel={"tx_errors": ALL, "tx_dropped": ALL}, vdp={"sent": ALL, "tx_packets": ALL},
    ),
    Difference(
        "nodf *", "L14",
        "Linux drops an IPv4 packet that the path does not take, and sends frag needed, with DF or without;"
        " vdp cuts one without DF in front of the tunnel (RFC 7588), and either half is sent",
        kernel={"tx_errors": ALL, "tx_dropped": ALL}, vdp={"sent": 2, "tx_packets": 2},
    ),
]  # fmt: skip

SENDING: list[tuple[str, int, dict[str, Any]]] = [
    *((f"t{letters(word)}", word, {}) for word in OPTIONS),
    ("hop9", 0, {"ttl": 9}),
    ("hopinh", 0, {"ttl": "inherit"}),
    ("tclass", 0, {"tos": 0x48}),
    ("tcinh", KEY, {"tos": "inherit"}),
    ("label", 0, {"flowlabel": 0x12345}),
    ("nolimit", CSUM, {"encaplimit": "none"}),
    ("limit0", 0, {"encaplimit": 0}),
    ("okey", 0, {"okey": 0xFFFFFFFF, "ocsum": True}),
    ("key0", 0, {"key": 0}),
]
#: Where no route leads.
UNREACHABLE = "2001:db8:dead::1"
#: Ends that something is amiss with, or that only some of Linux's tunnels can have.
ENDS: dict[str, dict[str, Any]] = {
    "anylocal": {"remote": "2001:db8::20"},
    "notmine": {"local": "2001:db8:7::7", "remote": "2001:db8::20"},
    "noremote": {"local": GUEST_ADDRESS6},
    "noroute": {"local": GUEST_ADDRESS6, "remote": UNREACHABLE},
}
#: Where the ECN field of the outer header is in a frame.
ECN_AT, ECN_BITS = 15, 0x30


def without_ecn(frame: bytes) -> bytes:
    """A frame whose outer ECN field is taken out: ip6_gre does not make it from the inner one (G10)."""
    return frame[:ECN_AT] + bytes([frame[ECN_AT] & ~ECN_BITS]) + frame[ECN_AT + 1 :]


def without_label(frame: bytes) -> bytes:
    """A frame whose outer flow label, and ECN field, are taken out."""
    seen = without_ecn(frame)
    return seen[:15] + bytes([seen[15] & 0xF0, 0, 0]) + seen[18:]


def run_transmit(
    oracle: KernelOracle,
    specs: list[LinkSpec],
    groups: dict[str, tuple[str, list[bytes]]],
    comparable: Callable[[bytes], bytes] = without_ecn,
) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Into both, and check.  Sequence numbers begin at 0 (G4): the guest is Linux since 5.18."""
    with oracle.links(*specs):
        from_kernel = oracle.transmit(specs, groups)
    since = [made.numbered_from_0 for made in specs]
    with closing(VdpOracle(since, unreachable=[UNREACHABLE])) as vdp:
        from_vdp = vdp.transmit(groups)
    check(groups, from_kernel, from_vdp, DIFFERENCES, comparable)
    return from_kernel, from_vdp


@pytest.mark.conformance("G5", "G6", "G7", "G11", "G17")
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_byte_identical(oracle: KernelOracle, kind: str) -> None:
    """What leaves for the same inner packet: all but the outer ECN field."""
    specs = [
        spec(name, kind, n, word, **{"flowlabel": 0, **more}) for n, (name, word, more) in enumerate(SENDING)
    ]
    groups = {
        f"{made.name} {name}": (made.name, frames)
        for made in specs
        for name, frames in [
            *hostile.inner_groups(kind),
            *hostile6.inner_groups(made.parameters["remote"]),
        ]
    }
    run_transmit(oracle, specs, groups)


@pytest.mark.conformance("B15", "B16", "G9")
@pytest.mark.parametrize("ends", ENDS)
def test_ends(oracle: KernelOracle, ends: str) -> None:
    """What is sent by tunnels whose ends are not two hosts' addresses."""
    made = LinkSpec(ends, "ip6gre", {**ENDS[ends], "flowlabel": 0})
    packets = {4: hostile.inner4(), 6: hostile.inner6()}
    groups = {f"{ends} {version}": (ends, [hostile.frame(packet)]) for version, packet in packets.items()}
    oracle.batch([f"route add unreachable {UNREACHABLE}"])
    try:
        run_transmit(oracle, [made], groups)
    finally:
        oracle.batch([f"route del unreachable {UNREACHABLE}"])


@pytest.mark.conformance("G20")
def test_flow_labels(oracle: KernelOracle) -> None:
    """Inherited ones are the same; automatic ones are there in both, and are all that differs."""
    inherits = spec("inherit", "ip6gre", 1, flowlabel="inherit")
    groups = {
        f"inherit {name}": ("inherit", frames) for name, frames in hostile6.inner_groups("2001:db8::11")
    }
    run_transmit(oracle, [inherits], groups)
    auto = spec("auto", "ip6gre", 1, flowlabel="auto")
    groups = {f"auto {name}": ("auto", frames) for name, frames in hostile.inner_groups("ip6gre")}
    oracle.set("net.ipv6.auto_flowlabels=1")
    try:
        outcomes = run_transmit(oracle, [auto], groups, without_label)
    finally:
        oracle.set("net.ipv6.auto_flowlabels=0")
    for side in outcomes:
        labels = {any((frame[15] & 0x0F, *frame[16:18])) for frame in side["auto IPv6"].sent}
        assert labels == {True}


@pytest.mark.conformance("G10", "L12")
@pytest.mark.parametrize("tos", [0, 0x48, "inherit"])
def test_traffic_class(oracle: KernelOracle, tos: int | str) -> None:
    """The kernel's is as configured, or the inner one whole; vdp's has DSCP so, and ECN by RFC 6040 4.1."""
    made = spec("tc", "ip6gre", 1, tos=tos, flowlabel=0)
    classes = [dscp << 2 | ecn for dscp in (0, 10, 46) for ecn in range(4)]
    groups = {
        f"tc {version} {tc}": ("tc", [hostile.frame(packet)])
        for tc in classes
        for version, packet in ((4, hostile.inner4(tos=tc)), (6, hostile.inner6(tc=tc)))
    }
    from_kernel, from_vdp = run_transmit(oracle, [made], groups)
    for name in groups:
        inner = int(name.split()[2])
        base = inner if tos == "inherit" else int(tos)
        assert _traffic_class(from_kernel[name]) == base
        assert _traffic_class(from_vdp[name]) == base & ~3 | (2 if inner & 3 == 3 else inner & 3)


def _traffic_class(outcome: Outcome) -> int:
    (frame,) = outcome.sent
    return (frame[14] << 4 | frame[15] >> 4) & 0xFF


@pytest.mark.conformance("G15", "L14")
@pytest.mark.parametrize("mtu", [None, 1500], ids=["link", "path"])
@pytest.mark.parametrize("version", [4, 6])
def test_too_big(oracle: KernelOracle, version: int, mtu: int | None) -> None:
    """Frag needed or packet too big about what is routed to a tunnel: the same MTU, the same quotation.

    It does not fit the link, or the link takes it but not the path: then it has been through
    the router already.
    """
    more: dict[str, Any] = {"flowlabel": 0} | ({} if mtu is None else {"mtu": mtu})
    specs = [spec(f"m{letters(word)}", "ip6gre", n, word, **more) for n, word in enumerate(OPTIONS)]
    sizes = [1280, 1400, 1432, 1433, 1436, 1437, 1440, 1441, 1444, 1445, 1448, 1449, 1456, 1457, 1500]
    packets = {
        made.name: [_sized(version, size, n, i + 1) for i, size in enumerate(sizes)]
        for n, made in enumerate(specs)
    }
    routes = {made.name: [f"10.8.{n}.0/24", f"2001:db8:8:{n}::/64"] for n, made in enumerate(specs)}
    with oracle.links(*specs), oracle.routed(routes):
        answers = {
            name: oracle.wire.exchange([hostile.outer_mac(p) for p in sent]) for name, sent in packets.items()
        }
        counted = oracle.counters(specs, ["tx_errors", "tx_dropped"])
    with closing(VdpOracle(specs)) as vdp:
        passed = hostile.one_hop_on if mtu else bytes
        outcomes = vdp.transmit(
            {name: (name, [hostile.frame(passed(p)) for p in sent]) for name, sent in packets.items()}
        )
    for name, frames in answers.items():
        errors = [f for f in frames if _is_icmp(f)]
        from_kernel = [hostile.icmp_error(f[14:]) for f in errors]
        from_vdp = [hostile.icmp_error(data) for _, data in outcomes[name].output.get(name, [])]
        assert from_kernel == from_vdp
        assert len(frames) - len(errors) == len(outcomes[name].sent)
        assert len(frames) == len(sizes)
        assert len(from_kernel) >= 3
        for counter, count in counted[name].items():
            assert count == outcomes[name].counters[name].get(counter, 0) == (len(from_kernel) if mtu else 0)


def _is_icmp(frame: bytes) -> bool:
    return frame[23] == 1 if frame[12:14] == b"\x08\x00" else frame[20] == 58


def _sized(version: int, size: int, network: int, host: int, **fields: Any) -> bytes:
    """An inner packet of that size, to a host of a network of its own."""
    if version == 6:
        return hostile.inner6(size - 48, dst=f"2001:db8:8:{network}::{host}", **fields)
    return hostile.inner4(size - 28, dst=f"10.8.{network}.{host}", **{"flags": "DF", **fields})


@pytest.mark.conformance("G15", "L14")
def test_frames_too_big(oracle: KernelOracle) -> None:
    """Frames that the path does not take: counted; and the sender of an IPv6 packet inside is told.

    That of an IPv4 packet is told by vdp, with DF.  By the kernel, too, but not here: icmp_send
    wants the packet to have been routed, not bridged or redirected.
    """
    specs = [spec(f"b{letters(word)}", "ip6gretap", n, word, flowlabel=0) for n, word in enumerate(OPTIONS)]
    groups = {}
    for n, (made, word) in enumerate(zip(specs, OPTIONS, strict=True)):
        mtu = 1500 - 40 - 8 - len(hostile.gre(b"", 0, word)) - 14
        sizes = [mtu - 1, mtu, mtu + 1, mtu + 4]  # a VLAN tag more is let through to the link
        for version in (4, 6):
            packets = [_sized(version, size, n, i) for i, size in enumerate(sizes)]
            groups[f"{made.name} {version}"] = (made.name, [hostile.frame(p) for p in packets])
        groups[f"{made.name} other"] = (made.name, [hostile.frame(p, type=0x88B5) for p in packets])
    with oracle.links(*specs):
        from_kernel = oracle.transmit(specs, groups)
    with closing(VdpOracle(specs)) as vdp:
        from_vdp = vdp.transmit(groups)
    for name, (link, frames) in groups.items():
        one, other = from_kernel[name], from_vdp[name]
        told = [hostile.icmp_error(f[14:]) for f in one.sent if _is_icmp(f)]
        by_vdp = [hostile.icmp_error(f[14:]) for _, f in other.output.get(link, [])]
        assert one.counters == other.counters, name
        assert len(one.sent) - len(told) == len(other.sent), name
        assert 0 < len(other.sent) < len(frames), name
        assert bool(by_vdp) is not name.endswith("other")
        assert told == ([] if name.endswith("4") else by_vdp), name


@pytest.mark.conformance("L14")
def test_an_ip4_packet_without_df_is_cut_before_the_tunnel(oracle: KernelOracle) -> None:
    made = spec("nodf", "ip6gre", 1, flowlabel=0, mtu=1500)
    run_transmit(oracle, [made], {"nodf 1449": ("nodf", [hostile.frame(hostile.inner4(1449 - 28))])})


@pytest.mark.conformance("G15", "G19", "L14")
@pytest.mark.parametrize("kind", KINDS)
def test_no_outer_packet_is_fragmented(oracle: KernelOracle, kind: str) -> None:
    """On a path of 1280 bytes what does not fit is lost, IPv6 packets of 1280 bytes, too (ip6_fragment)."""
    remote = "2001:db8::30"
    made = LinkSpec("f0", kind, {"local": GUEST_ADDRESS6, "remote": remote, "flowlabel": 0, "mtu": 1500})
    room = 1280 - 40 - 8 - 4 - (14 if kind == "ip6gretap" else 0)
    packets = {
        f"{version} {size}": _sized(version, size, 0, number)
        for number, size in enumerate((1200, room, room + 1, 1280, 1281))
        for version in (4, 6)
    }
    groups = {name: ("f0", [hostile.frame(packet)]) for name, packet in packets.items()}
    oracle.batch([f"route add {remote}/128 dev eth0 mtu 1280"])
    try:
        with oracle.links(made):
            from_kernel = oracle.transmit([made], groups)
    finally:
        oracle.batch([f"route del {remote}/128 dev eth0"])
    with closing(VdpOracle([made], mtu=1280)) as vdp:
        from_vdp = vdp.transmit(groups)
    for name in groups:
        one, other = from_kernel[name], from_vdp[name]
        assert one.counters == other.counters, name
        assert [without_ecn(f) for f in one.sent if not _is_icmp(f)] == [without_ecn(f) for f in other.sent]
        fits = int(name.split()[1]) <= room
        assert len(other.sent) == fits
        told = [hostile.icmp_error(f[14:]) for f in one.sent if _is_icmp(f)]
        assert [error[2] for error in told] == ([1280] if name == "6 1281" else [])


@pytest.mark.conformance("L18")
def test_no_more_tunnels(oracle: KernelOracle) -> None:
    """Parameter problem about an inner packet whose encapsulation limit is used up (RFC 2473 4.1.1)."""
    made = spec("p", "ip6gre", 1, flowlabel=0)
    packets = [
        hostile6.with_options(60, hostile6.limit(0)),
        hostile6.with_options(60, (1, b""), hostile6.limit(0)),
        hostile6.with_options(60, (0x1E, b"abc"), hostile6.limit(0)),
    ]
    with oracle.links(made), oracle.routed({"p": ["2001:db8:8::/64"]}):
        answers = oracle.wire.exchange([hostile.outer_mac(p) for p in packets])
        counted = oracle.counters([made], ["tx_errors", "tx_dropped"])["p"]
    with closing(VdpOracle([made])) as vdp:
        sent = [hostile.frame(hostile.one_hop_on(p)) for p in packets]
        outcome = vdp.transmit({"p": ("p", sent)})["p"]
    told = [hostile.icmp_error(f[14:]) for f in answers]
    assert told == [hostile.icmp_error(data) for _, data in outcome.output["p"]]
    assert [error[2] for error in told] == [44, 46, 49]
    assert outcome.counters["p"] == counted == {"tx_errors": 3, "tx_dropped": 3}


# -- configuration ---------------------------------------------------------------------------

#: Prefix behind an underlay of some MTU, by that MTU.
UNDERLAYS = {1500: "2001:db8:", 9000: "2001:db8:9000:", 1340: "2001:db8:1340:", 1280: "2001:db8:1280:"}
OTHER = {"local": GUEST_ADDRESS6, "remote": "2001:db8::41"}
CONFIGURATIONS = [
    *(
        ConfigurationDifference(
            kind, {"remote": "ff05::1:1", "key": 1}, "B15",
            "Linux makes a tunnel over IPv6 to a group that has no local address, and sends nothing by it;"
            " vdp asks for one, as either does over IPv4",
            kernel={"local": "any", "remote": "ff05::1:1"}, vdp="EINVAL",
        )
        for kind in KINDS
    ),
    *(
        ConfigurationDifference(
            kind, {"local": "ff05::1:2", "remote": "2001:db8::40"}, "B15",
            "Linux makes a tunnel that is at a group itself, and sends nothing by it; vdp refuses it",
            kernel={"local": "ff05::1:2", "class": has}, vdp="EINVAL",
        )
        for kind, has in (("ip6gre", "multipoint"), ("ip6gretap", "ethernet"))
    ),
    *(
        ConfigurationDifference(
            kind, {"remote": "2001:db8:9000::40", "key": 50}, "B9",
            "Linux binds a tunnel over IPv6 to a way only where both ends are given; vdp to the remote's",
            kernel={"mtu": mtu}, vdp={"mtu": mtu + 7500},
        )
        for kind, mtu in (("ip6gre", 1444), ("ip6gretap", 1430))
    ),
    ConfigurationDifference(
        "ip6gre", {}, "D8",
        "the fallback device ip6gre0 has these parameters already; vdp makes none unasked",
        kernel="EEXIST", vdp={"local": "any", "remote": "any"},
    ),
    ConfigurationDifference(
        "ip6gretap", {}, "B25",
        "ip(8) gives no parameters at all here, and the kernel's struct is zeros; vdp's are what ip(8) names"
        " as its defaults",
        kernel={"ttl": "inherit", "encaplimit": 0}, vdp={"ttl": 64, "encaplimit": 4},
    ),
]  # fmt: skip


def configurations() -> dict[int, list[dict[str, Any]]]:
    """Links by the MTU of their underlay; those of one list are made one after the other."""
    found: dict[int, list[dict[str, Any]]] = {}
    for number, (mtu, word) in enumerate((mtu, word) for mtu in UNDERLAYS for word in OPTIONS):
        on = {"local": GUEST_ADDRESS6, "remote": f"{UNDERLAYS[mtu]}:{60 + number}"}
        found.setdefault(mtu, []).append(on | hostile.parameters(word))
    ends = {"local": GUEST_ADDRESS6, "remote": "2001:db8::40"}
    found[9000].append({"remote": "2001:db8:9000::40", "key": 50})
    found[1500] += [
        ends, ends, {**ends, "ttl": 9}, {**ends, "csum": True}, {**ends, "key": 1}, {**ends, "key": 1},
        {**ends, "key": 0}, {**ends, "ikey": 2, "okey": 1}, {**ends, "ikey": 2, "okey": 7},
        {"remote": "2001:db8::40"}, {"remote": "2001:db8::40"}, {"local": GUEST_ADDRESS6},
        {"local": GUEST_ADDRESS6, "key": 5}, {"key": 5}, {"key": 5, "csum": True},
        {**OTHER, "icsum": True}, {**OTHER, "ocsum": True, "key": 1}, {**OTHER, "iseq": True, "key": 2},
        {**OTHER, "oseq": True, "key": 3}, {**OTHER, "ikey": 4}, {**OTHER, "okey": 4},
        {**OTHER, "ikey": 5, "okey": 6, "icsum": True, "oseq": True}, {**OTHER, "key": 20, "ttl": 255},
        {**OTHER, "key": 21, "ttl": "inherit"}, {**OTHER, "key": 22, "tos": 0x48},
        {**OTHER, "key": 23, "tos": "inherit"}, {**OTHER, "key": 24, "flowlabel": 0x12345},
        {**OTHER, "key": 25, "flowlabel": "inherit"}, {**OTHER, "key": 26, "encaplimit": "none"},
        {**OTHER, "key": 27, "encaplimit": 0}, {**OTHER, "key": 28, "encaplimit": 255},
        {**OTHER, "key": 29, "encaplimit": "none", "csum": True, "seq": True}, {**OTHER, "key": 0xFFFFFFFF},
        {**OTHER, "key": 30, "mtu": 68}, {**OTHER, "key": 31, "mtu": 1400}, {**OTHER, "key": 32, "mtu": 9000},
        {**OTHER, "key": 33, "mtu": 65000}, {"remote": "ff05::1:1", "key": 1},
        {"local": GUEST_ADDRESS6, "remote": "ff05::1:1", "key": 1},
        {"local": GUEST_ADDRESS6, "remote": "ff05::1:1", "key": 1},
        {"local": "ff05::1:2", "remote": "2001:db8::40"}, {"local": GUEST_ADDRESS6, "remote": "::1"},
        {"local": "2001:db8:7::7", "remote": "2001:db8::40"}, {"local": GUEST_ADDRESS6, "remote": "fe80::40"},
        {"local": GUEST_ADDRESS6, "remote": "2001:db8:ffff::40"}, {},
    ]  # fmt: skip
    return found


@pytest.mark.conformance("B6", "B9", "B11", "B14", "B15", "B18", "B25")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_configurations(oracle: KernelOracle, kind: str) -> None:
    """Acceptance and its error, MTU, and what can be read back (`ip -d link`, fill_info)."""
    prefixes = {mtu: f"{prefix}:1/64" for mtu, prefix in UNDERLAYS.items() if mtu != 1500}
    run_configurations(oracle, kind, prefixes, configurations(), CONFIGURATIONS)
