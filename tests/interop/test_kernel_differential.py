"""The same packets into the kernel and into vdp: what comes out, and which counter moved, field by field.

The guest is a later kernel (6.1) than the one that vdp follows (3.11 to 4.2).  Where it
does otherwise, or vdp does on purpose, both facts are in DIFFERENCES, with the row of the
feature list and the reason, and are asserted: nothing else may differ.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.interop import hostile
from tests.interop.compare import ALL, Difference, check, run_configurations, run_receive
from tests.interop.configured import ConfigurationDifference
from tests.interop.hostile import CSUM, KEY, OPTIONS, SEQ, letters
from tests.interop.kernel import GUEST_ADDRESS
from tests.interop.oracle import KernelOracle, LinkSpec, Outcome, VdpOracle

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
KINDS = ("gre", "gretap")

DIFFERENCES = [
    Difference(
        "h* short inner header", "E5",
        "Linux 6.8 (and 6.1.79) drops an inner IP header that is cut short (pskb_inet_may_pull in"
        " ip_tunnel_rcv); before, and in vdp, the packet is passed on as it is",
        kernel={"rx_errors": ALL}, vdp={"out": ALL, "rx_packets": ALL},
    ),
    Difference(
        "o* another protocol", "A1",
        "the host answers what no protocol takes; vdp takes IP protocol 47 and leaves the others to the host",
        kernel={"sent": ALL}, vdp={},
    ),
    Difference(
        "o* fragments", "C20",
        "the kernel puts outer fragments together; vdp drops and counts them (fragment_policy)",
        kernel={"out": 1, "rx_packets": 1}, vdp={},
    ),
    *(
        Difference(
            f"{link} a frame", "D1",
            "Linux since 4.8 gives a frame that no gretap takes to a gre device, as a packet of protocol"
            " 0x6558 (ipgre_rcv: raw_proto); before, and in vdp, it finds no link",
            kernel={"out": ALL, "rx_packets": ALL}, vdp={"sent": ALL},
        )
        for link in ("pgre", "pkey")
    ),
    *(
        Difference(
            f"{link} protocol {protocol:#06x}", "C16",
            "Linux since 4.14 gives ERSPAN's protocol types to erspan devices only; before, and in vdp"
            " without vdp_erspan, they are protocols as any other",
            kernel={"sent": ALL}, vdp={"out": ALL, "rx_packets": ALL},
        )
        for link in ("pgre", "pkey") for protocol in (0x88BE, 0x22EB)
    ),
    *(
        Difference(
            f"{detect}-gre wccp short", "E5",
            "as above; and the full test of WCCP wants a whole inner header behind the redirect header",
            kernel={"rx_errors": ALL}, vdp=vdp,
        )
        for detect, vdp in (("linux", {"out": ALL, "rx_packets": ALL}), ("full", {}))
    ),
    Difference(
        "full-gre wccp ambiguous 0x4[5f]", "K3",
        "a redirect header whose first byte could be an IPv4 header's is taken for the payload by the"
        " kernel, which passes rubbish on; vdp's full test finds neither reading sound, and drops",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={},
    ),
    Difference(
        "full-gre wccp ambiguous 0x40", "K3",
        "the same with a first byte that no IPv4 header has: the kernel passes the redirect header on as"
        " payload, vdp skips it (the bytes differ)",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={"out": ALL, "rx_packets": ALL},
    ),
]  # fmt: skip


def spec(name: str, kind: str, number: int, word: int = 0, **parameters: Any) -> LinkSpec:
    """A link to 192.0.2.(10 + number) with the options of `word`."""
    ends = {"local": GUEST_ADDRESS, "remote": f"192.0.2.{10 + number}"}
    return LinkSpec(name, kind, ends | hostile.parameters(word) | parameters)


# -- receive ---------------------------------------------------------------------------------


@pytest.mark.conformance("C2", "C3", "C6", "C11")
@pytest.mark.parametrize("kind", KINDS)
def test_flag_words(oracle: KernelOracle, kind: str) -> None:
    """2,304 words of flags and version, each at a link whose setting agrees about checksums."""
    specs = [spec(f"f{letters(w)}", kind, n, w) for n, w in enumerate(OPTIONS)]
    run_receive(oracle, specs, hostile.flag_word_groups(specs, 2304, 192), DIFFERENCES)


@pytest.mark.conformance("C1", "C5", "C7", "C9", "C10", "C15", "D7", "E2", "J", "L2", "L3")
@pytest.mark.parametrize("kind", KINDS)
def test_headers(oracle: KernelOracle, kind: str) -> None:
    specs = [spec(f"h{letters(w)}", kind, n, w) for n, w in enumerate(OPTIONS)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.header_groups), DIFFERENCES)


@pytest.mark.conformance("E3", "E4")
def test_sequences(oracle: KernelOracle) -> None:
    specs = [spec("sgre", "gre", 1, SEQ), spec("stap", "gretap", 2, SEQ | KEY)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.sequence_groups), DIFFERENCES)


@pytest.mark.conformance("E5", "L12")
def test_ecn(oracle: KernelOracle) -> None:
    specs = [spec("egre", "gre", 1), spec("etap", "gretap", 2), spec("ecsum", "gre", 3, CSUM)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.ecn_groups), DIFFERENCES)


@pytest.mark.conformance("C19", "C21")
def test_outer_headers(oracle: KernelOracle) -> None:
    specs = [spec("ogre", "gre", 1), spec("otap", "gretap", 2, KEY | CSUM)]
    groups = hostile.streamed(specs, hostile.outer_groups, hostile.fragment_groups)
    run_receive(oracle, specs, groups, DIFFERENCES)


@pytest.mark.conformance("C16", "D1", "L16")
def test_protocols(oracle: KernelOracle) -> None:
    specs = [spec("pgre", "gre", 1), spec("ptap", "gretap", 2), spec("pkey", "gre", 3, KEY)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.protocol_groups), DIFFERENCES)


@pytest.mark.conformance("C13", "K1", "K2", "K3", "K4")
@pytest.mark.parametrize("detect", ["linux", "full"])
def test_wccp(oracle: KernelOracle, detect: str) -> None:
    """The kernel's rule byte for byte; the full test differs where the kernel's guesses wrong."""
    specs = [
        spec(f"{detect}-gre", "gre", 1),
        spec(f"{detect}-tap", "gretap", 2),
        spec(f"{detect}-key", "gre", 3, KEY),
    ]
    run_receive(
        oracle, specs, hostile.streamed(specs, hostile.wccp_groups), DIFFERENCES, {"wccp": {"detect": detect}}
    )


LOOKUPS: dict[str, list[dict[str, Any]]] = {
    "all": [
        {"local": GUEST_ADDRESS, "remote": "192.0.2.20"},
        {"local": GUEST_ADDRESS, "remote": "192.0.2.20", "key": 42},
        {"local": GUEST_ADDRESS, "remote": "192.0.2.20", "key": 0},
        {"remote": "192.0.2.20"},
        {"remote": "192.0.2.21", "key": 42},
        {"local": GUEST_ADDRESS},
        {"local": GUEST_ADDRESS, "key": 43},
        {"key": 7},
        {"local": GUEST_ADDRESS, "remote": "239.1.1.1", "key": 42},
    ],
    "any local": [{"remote": "192.0.2.20"}, {"remote": "192.0.2.21", "key": 42}],
    "any remote": [{"local": GUEST_ADDRESS}, {"local": GUEST_ADDRESS, "key": 42}],
    "no address": [{"key": 7}, {"key": 42}],
    "key 0 for all": [{"key": 0}],
    "key 0 for one": [{"local": GUEST_ADDRESS, "remote": "192.0.2.20", "key": 0}],
    "ikey and okey": [{"local": GUEST_ADDRESS, "remote": "192.0.2.20", "ikey": 42, "okey": 7}],
    # Always with a key: for a group without one, iproute2 makes the group's address the key.
    "group": [
        {"local": GUEST_ADDRESS, "remote": "239.1.1.1", "key": 42},
        {"remote": "192.0.2.20", "key": 43},
    ],
}


@pytest.mark.conformance("D2", "D3", "D4", "D5", "D7", "D10")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_lookup_passes(oracle: KernelOracle, lookup: str, kind: str) -> None:
    """Each source, destination and key, at tunnels that only some pass of the lookup finds."""
    specs = [LinkSpec(f"l{n}", kind, parameters) for n, parameters in enumerate(LOOKUPS[lookup])]
    groups = {}
    for source in ("192.0.2.20", "192.0.2.21", "192.0.2.22", "198.51.100.1"):
        for destination in (GUEST_ADDRESS, "239.1.1.1"):
            if destination == "239.1.1.1" and (kind == "gretap" or lookup not in ("all", "group")):
                continue  # nobody has joined: of the kernel's two, gre does (ipgre_open)
            groups[f"{lookup} {source} {destination}"] = [
                hostile.addressed(kind, source, destination, key) for key in (None, 0, 7, 42, 43)
            ]
    run_receive(oracle, specs, groups, DIFFERENCES)


@pytest.mark.conformance("D9")
@pytest.mark.parametrize("kind", KINDS)
def test_sources_that_nobody_has(oracle: KernelOracle, kind: str) -> None:
    """Martians do not reach a tunnel of any remote: the kernel's route lookup refuses them before."""
    sources = ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
               GUEST_ADDRESS, "10.9.8.7")  # fmt: skip
    groups = {f"source {s}": [hostile.addressed(kind, s, GUEST_ADDRESS, None)] for s in sources}
    run_receive(oracle, [LinkSpec("open", kind, {"local": GUEST_ADDRESS})], groups, DIFFERENCES)


@pytest.mark.conformance("A7")
def test_errors_to_senders_of_what_has_no_tunnel(oracle: KernelOracle) -> None:
    """ICMP port unreachable: every field but the identification."""
    groups = dict(hostile.unclaimed_groups())
    specs = [spec("igre", "gre", 1)]
    run_receive(oracle, specs, groups, DIFFERENCES)


# -- transmit --------------------------------------------------------------------------------

SENDING: list[tuple[str, int, dict[str, Any]]] = [
    *((f"t{letters(word)}", word, {}) for word in OPTIONS),
    ("ttl9", 0, {"ttl": 9}),
    ("tos", 0, {"tos": 0x48}),
    ("tosinh", KEY, {"tos": "inherit"}),
    ("nopmtu", 0, {"pmtudisc": False, "ttl": 64}),
    ("nopmtuinh", CSUM, {"pmtudisc": False}),
    ("ignoredf", 0, {"pmtudisc": False, "ignore_df": True}),
    ("okey", 0, {"okey": 0xFFFFFFFF, "ocsum": True}),
    ("key0", 0, {"key": 0}),
]


@pytest.mark.conformance("G4", "G5", "G6", "G7", "G8", "G10", "G11", "G12", "G17")
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_byte_identical(oracle: KernelOracle, kind: str) -> None:
    """What leaves for the same inner packet: all but the outer identification.

    The guest is Linux since 5.18, which vdp is with `seq_start = 0`.
    """
    specs = [spec(name, kind, n, word, **more) for n, (name, word, more) in enumerate(SENDING)]
    groups = {
        f"{made.name} {name}": (made.name, frames)
        for made in specs
        for name, frames in hostile.inner_groups(kind)
    }
    first = {f"{made.name} first": (made.name, [hostile.frame(hostile.inner4())]) for made in specs}
    with oracle.links(*specs):
        from_kernel = oracle.transmit(specs, first | groups)
    with closing(VdpOracle(specs)) as vdp:
        if kind == "gre":
            assert _sequence(vdp.transmit({"f": ("tS", first["tS first"][1])})["f"]) == 1, "spec: o_seqno++"
        assert _sequence(from_kernel["tS first"]) == 0, "Linux since 5.18: atomic_fetch_inc"
    since = [made.numbered_from_0 for made in specs]
    with closing(VdpOracle(since)) as vdp:
        check(first | groups, from_kernel, vdp.transmit(first | groups), DIFFERENCES)


def _sequence(outcome: Outcome) -> int:
    return int.from_bytes(outcome.sent[0][38:42], "big")


@pytest.mark.conformance("G15", "L14")
@pytest.mark.parametrize("mtu", [None, 1500], ids=["link", "path"])
def test_too_big(oracle: KernelOracle, mtu: int | None) -> None:
    """Frag needed about a DF packet that is routed to a tunnel: the same MTU and the same quotation.

    It does not fit the link, or the link takes it but not the path (tnl_update_pmtu): then it has been
    through the router already.
    """
    more = {} if mtu is None else {"mtu": mtu}
    specs = [spec(f"m{letters(word)}", "gre", n, word, **more) for n, word in enumerate(OPTIONS)]
    sizes = [1400, 1463, 1464, 1465, 1468, 1469, 1472, 1473, 1476, 1477, 1480, 1500]
    packets = {
        made.name: [
            hostile.inner4(size - 28, dst=f"10.8.{n}.{i + 1}", flags="DF") for i, size in enumerate(sizes)
        ]
        for n, made in enumerate(specs)
    }
    routes = {made.name: [f"10.8.{n}.0/24"] for n, made in enumerate(specs)}
    with oracle.links(*specs), oracle.routed(routes):
        answers = {
            name: oracle.wire.exchange([hostile.outer_mac(p) for p in sent]) for name, sent in packets.items()
        }
        counted = oracle.counters(specs, ["tx_errors"])
    with closing(VdpOracle(specs)) as vdp:
        passed = hostile.one_hop_on if mtu else bytes
        outcomes = vdp.transmit(
            {name: (name, [hostile.frame(passed(p)) for p in sent]) for name, sent in packets.items()}
        )
    for name, frames in answers.items():
        from_kernel = [hostile.icmp_error(f[14:]) for f in frames if f[23] == 1]
        from_vdp = [hostile.icmp_error(data) for _, data in outcomes[name].output.get(name, [])]
        assert from_kernel == from_vdp
        tunnelled = sum(f[23] == 47 for f in frames)
        assert tunnelled == len(outcomes[name].sent)
        assert len(from_kernel) + tunnelled == len(sizes)
        assert len(from_kernel) >= 3
        errors = outcomes[name].counters[name].get("tx_errors", 0)
        assert errors == counted[name]["tx_errors"] == (len(from_kernel) if mtu else 0)


# -- configuration ---------------------------------------------------------------------------

OTHER = {"local": GUEST_ADDRESS, "remote": "192.0.2.41"}
#: Prefix behind an underlay of some MTU, by that MTU.
UNDERLAYS = {1500: "192.0.2", 9000: "198.18.1", 1280: "198.18.2", 576: "198.18.3", 100: "198.18.4"}


CONFIGURATIONS = [
    ConfigurationDifference(
        kind, {**OTHER, "key": 33, "mtu": 65535}, "B24",
        "Linux since 4.16 takes an MTU that is too much at creation for the most there is"
        " (ip_tunnel_newlink: clamp); before, it stayed as given; vdp refuses it, as it does later",
        kernel={"mtu": most}, vdp="EINVAL",
    )
    for kind, most in (("gre", 65507), ("gretap", 65493))
]  # fmt: skip


def configurations() -> dict[int, list[dict[str, Any]]]:
    """Links by the MTU of their underlay; those of one list are made one after the other."""
    found: dict[int, list[dict[str, Any]]] = {}
    for number, (mtu, word) in enumerate((mtu, word) for mtu in UNDERLAYS for word in OPTIONS):
        on: dict[str, Any] = {"local": GUEST_ADDRESS, "remote": f"{UNDERLAYS[mtu]}.{60 + number}"}
        on |= {"csum": True} if word & CSUM else {}
        on |= {"key": 1 + number} if word & KEY else {}
        on |= {"seq": True} if word & SEQ else {}
        found.setdefault(mtu, []).append(on)
    ends = {"local": GUEST_ADDRESS, "remote": "192.0.2.40"}
    other = OTHER
    found[1500] += [
        ends, ends, {**ends, "ttl": 9}, {**ends, "csum": True},
        {**ends, "key": 1}, {**ends, "key": 1}, {**ends, "key": 0}, {**ends, "ikey": 2, "okey": 1},
        {**ends, "ikey": 2, "okey": 7}, {"remote": "192.0.2.40"}, {"remote": "192.0.2.40"},
        {"local": GUEST_ADDRESS}, {"local": GUEST_ADDRESS, "key": 5}, {"key": 5}, {"key": 5, "csum": True},
        {**other, "icsum": True}, {**other, "ocsum": True, "key": 1}, {**other, "iseq": True, "key": 2},
        {**other, "oseq": True, "key": 3}, {**other, "ikey": 4}, {**other, "okey": 4},
        {**other, "ikey": 5, "okey": 6, "icsum": True, "oseq": True},
        {**other, "key": 20, "ttl": 255}, {**other, "key": 21, "ttl": 1}, {**other, "key": 22, "tos": 0x10},
        {**other, "key": 23, "tos": "inherit"}, {**other, "key": 24, "pmtudisc": False},
        {**other, "key": 25, "pmtudisc": False, "ttl": 5}, {**other, "key": 26, "ignore_df": True},
        {**other, "key": 27, "pmtudisc": False, "ignore_df": True}, {**other, "key": 0xFFFFFFFF},
        {**other, "key": 30, "mtu": 68}, {**other, "key": 31, "mtu": 1400}, {**other, "key": 32, "mtu": 9000},
        {**other, "key": 33, "mtu": 65535}, {**other, "key": 34, "mtu": 65000},
        {"remote": "239.1.1.1", "key": 1},
        {"local": GUEST_ADDRESS, "remote": "239.1.1.1", "key": 1},
        {"local": GUEST_ADDRESS, "remote": "239.1.1.1", "key": 1}, {},
    ]  # fmt: skip
    return found


@pytest.mark.conformance("B3", "B6", "B9", "B11", "B14", "B15", "B18", "B24")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_configurations(oracle: KernelOracle, kind: str) -> None:
    """Acceptance and its error, MTU, and what can be read back (`ip -d link`, fill_info)."""
    prefixes = {mtu: f"{prefix}.1/24" for mtu, prefix in UNDERLAYS.items() if mtu != 1500}
    # gre0 and gretap0, which the kernel has from the start.
    fallback = LinkSpec(f"{kind}0", kind, {"fallback": True, "up": False})
    run_configurations(oracle, kind, prefixes, configurations(), CONFIGURATIONS, [fallback])
