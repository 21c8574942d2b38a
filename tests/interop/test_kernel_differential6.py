"""What comes in over IPv6: packets into the kernel's ip6gre and ip6gretap and into vdp's, field by field.

What differs, and why, is in DIFFERENCES (tests.interop.compare), and is asserted.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop import hostile, hostile6
from tests.interop.compare import ALL, Difference, run_receive
from tests.interop.hostile import CSUM, KEY, OPTIONS, SEQ, letters
from tests.interop.hostile6 import KINDS, spec
from tests.interop.kernel import GUEST_ADDRESS6
from tests.interop.oracle import KernelOracle, LinkSpec

pytestmark = [pytest.mark.root, pytest.mark.timeout(180), pytest.mark.conformance("L18")]

HOST_TELLS = (
    "the host tells the sender, whose address it is (ICMPv6 parameter problem); vdp would tell it twice, and"
    " only drops"
)
DIFFERENCES = [
    Difference(
        "[ht]* short inner header", "E5",
        "Linux 6.8 (and 6.1.79) drops an inner IP header that is cut short (pskb_inet_may_pull in"
        " __ip6_tnl_rcv); before, and in vdp, the packet is passed on as it is",
        kernel={"rx_errors": ALL}, vdp={"out": ALL, "rx_packets": ALL},
    ),
    *(
        Difference(
            groups, "C1",
            "Linux since 4.7 asks for no more than the GRE header, and drops these later for their inner one;"
            " before, and in vdp, there must be 16 bytes (ip6gre_rcv)",
            kernel={"rx_errors": ALL}, vdp={},
        )
        for groups in (
            "hplain cut below the least", "hS cut below the least", "hK cut below the least",
            "hKS cut below the least", "ogre payload length off by -52", "ogre payload length off by -41",
        )
    ),
    Difference(
        "o* fragments", "C20",
        "the kernel puts outer fragments together; vdp drops and counts them (fragment_policy), where the"
        " underlay is no raw IP socket",
        kernel={"out": 1, "rx_packets": 1}, vdp={},
    ),
    *(
        Difference(
            f"x next header {number}", "A1",
            "the host answers what no protocol takes; vdp takes GRE and leaves the others to the host",
            kernel={"sent": ALL}, vdp={},
        )
        for number in (46, 48, 50, 51, 135, 139, 140, 253)
    ),
    *(
        Difference(groups, "C22", HOST_TELLS, kernel={"sent": ALL}, vdp={})
        for groups in (
            "x * unknown*, tell*", "x jumbo", "x routing type [015] left [12]",
            "x routing type 250 left [12]", "x chain ?H", "x chain ?H?", "x chain ??H",
        )
    ),
    *(
        Difference(
            f"x routing type {number} left 0", "C22",
            f"Linux since {release} drops routing headers of type {number} where they are not configured;"
            " before, and in vdp, one that is used up is passed over (RFC 8200 4.4)",
            kernel={}, vdp={"out": ALL, "rx_packets": ALL},
        )
        for number, release in ((3, "5.7"), (4, "4.10"))
    ),
    *(
        Difference(
            f"{link} a frame", "D1",
            "the kernel has one table of tunnels, and gives a frame that no ip6gretap takes to an ip6gre"
            " device, as a packet of protocol 0x6558; in vdp it finds no link, as over IPv4",
            kernel={"out": ALL, "rx_packets": ALL}, vdp={"sent": ALL},
        )
        for link in ("pgre", "pkey")
    ),
    *(
        Difference(
            groups, "C16",
            "Linux since 4.18 looks ERSPAN's protocol types up by what it takes for the session, among all"
            " devices; before, and in vdp without vdp_erspan, they are protocols as any other",
            kernel=kernel, vdp=vdp,
        )
        for groups, kernel, vdp in (
            ("pgre protocol 0x88be", {"out": ALL, "rx_packets": ALL}, {"out": ALL, "rx_packets": ALL}),
            ("pgre protocol 0x22eb", {"sent": ALL}, {"out": ALL, "rx_packets": ALL}),
            ("pkey protocol 0x88be", {"sent": ALL}, {"out": ALL, "rx_packets": ALL}),
            ("pkey protocol 0x22eb", {"sent": ALL}, {"out": ALL, "rx_packets": ALL}),
            ("ptap protocol 0x88be", {"out": ALL, "rx_packets": ALL}, {"sent": ALL}),
            ("ptap protocol 0x22eb", {"out": ALL, "rx_packets": ALL}, {"sent": ALL}),
        )
    ),
    *(
        Difference(
            f"{detect}-gre wccp short", "E5",
            "the later kernel drops an inner IP header that is cut short; vdp's full test of WCCP does, too",
            kernel={"rx_errors": ALL}, vdp=vdp,
        )
        for detect, vdp in (("linux", {"out": ALL, "rx_packets": ALL}), ("full", {}))
    ),
    Difference(
        "full-gre wccp IPv6 at once", "C14",
        "the kernel asks for an IPv4 packet's first nibble over IPv6, too, and takes the first four bytes of"
        " an IPv6 packet for a redirect header (the bytes differ)",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={"out": ALL, "rx_packets": ALL},
    ),
    Difference(
        "full-gre wccp ambiguous", "C14",
        "a redirect header that could be an IPv6 header's first bytes (with reserved bits set, which no"
        " router does) is taken for the payload by vdp's full test (the bytes differ)",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={"out": ALL, "rx_packets": ALL},
    ),
    Difference(
        "full-gre wccp IPv4*", "C14",
        "the kernel passes an IPv4 packet on as one of protocol IPv6; vdp's full test finds no IPv6 packet",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={},
    ),
    Difference(
        "unclaimed group frame", "A7",
        "Linux since 4.7 has forgotten by then that the frame was for a group (skb_scrub_packet), and"
        " answers; before, and in vdp, nobody does (RFC 4443 2.4 e.4)",
        kernel={"sent": ALL}, vdp={},
    ),
]  # fmt: skip


@pytest.mark.conformance("C2", "C6", "C11")
@pytest.mark.parametrize("kind", KINDS)
def test_flag_words(oracle: KernelOracle, kind: str) -> None:
    """768 words of flags and version, each at a link whose setting agrees about checksums."""
    specs = [spec(f"f{letters(w)}", kind, n, w) for n, w in enumerate(OPTIONS)]
    run_receive(oracle, specs, hostile.flag_word_groups(specs, 768, 64), DIFFERENCES)


@pytest.mark.conformance("C1", "C5", "C7", "C9", "C10", "E2")
@pytest.mark.parametrize("kind", KINDS)
def test_headers(oracle: KernelOracle, kind: str) -> None:
    front = "h" if kind == "ip6gre" else "t"
    specs = [spec(f"{front}{letters(w)}", kind, n, w) for n, w in enumerate(OPTIONS)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.header_groups), DIFFERENCES)


@pytest.mark.conformance("E3", "E4")
def test_sequences(oracle: KernelOracle) -> None:
    specs = [spec("sgre", "ip6gre", 1, SEQ), spec("stap", "ip6gretap", 2, SEQ | KEY)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.sequence_groups), DIFFERENCES)


@pytest.mark.conformance("E5")
def test_ecn(oracle: KernelOracle) -> None:
    specs = [spec("egre", "ip6gre", 1), spec("etap", "ip6gretap", 2), spec("ecsum", "ip6gre", 3, CSUM)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.ecn_groups), DIFFERENCES)


@pytest.mark.conformance("C19", "C20")
def test_outer_headers(oracle: KernelOracle) -> None:
    specs = [spec("ogre", "ip6gre", 1), spec("otap", "ip6gretap", 2, KEY | CSUM)]
    groups = hostile.streamed(specs, hostile6.outer_groups, hostile6.fragment_groups)
    run_receive(oracle, specs, groups, DIFFERENCES)


@pytest.mark.conformance("C22")
@pytest.mark.parametrize("kind", KINDS)
def test_extension_headers(oracle: KernelOracle, kind: str) -> None:
    """Options by what they ask for, chains in every order, routing headers, what is cut short."""
    made = spec("x", kind, 1, KEY)
    groups = hostile.streamed([made], hostile6.option_groups, hostile6.chain_groups)
    run_receive(oracle, [made], groups, DIFFERENCES)


@pytest.mark.conformance("C15", "C16")
def test_protocols(oracle: KernelOracle) -> None:
    specs = [spec("pgre", "ip6gre", 1), spec("ptap", "ip6gretap", 2), spec("pkey", "ip6gre", 3, KEY)]
    run_receive(oracle, specs, hostile.streamed(specs, hostile.protocol_groups), DIFFERENCES)


@pytest.mark.conformance("C14")
@pytest.mark.parametrize("detect", ["linux", "full"])
def test_wccp(oracle: KernelOracle, detect: str) -> None:
    """The kernel's rule byte for byte; the full test differs where the kernel's guesses wrong."""
    specs = [
        spec(f"{detect}-gre", "ip6gre", 1),
        spec(f"{detect}-tap", "ip6gretap", 2),
        spec(f"{detect}-key", "ip6gre", 3, KEY),
    ]
    run_receive(
        oracle,
        specs,
        hostile.streamed(specs, hostile6.wccp_groups),
        DIFFERENCES,
        {"wccp": {"detect": detect}},
    )


PEER = "2001:db8::20"
LOOKUPS: dict[str, list[dict[str, Any]]] = {
    "all": [
        {"local": GUEST_ADDRESS6, "remote": PEER},
        {"local": GUEST_ADDRESS6, "remote": PEER, "key": 42},
        {"remote": PEER},
        {"remote": "2001:db8::21", "key": 42},
        {"local": GUEST_ADDRESS6},
        {"local": GUEST_ADDRESS6, "key": 43},
        {"key": 7},
    ],
    "any local": [{"remote": PEER}, {"remote": "2001:db8::21", "key": 42}],
    "any remote": [{"local": GUEST_ADDRESS6}, {"local": GUEST_ADDRESS6, "key": 42}],
    "no address": [{"key": 7}, {"key": 42}],
    "key 0 for one": [{"local": GUEST_ADDRESS6, "remote": PEER, "key": 0}],
    "ikey and okey": [{"local": GUEST_ADDRESS6, "remote": PEER, "ikey": 42, "okey": 7}],
}
#: Those with what is left of them where each link has a remote, as ip6gretap's must (ip6gre_tap_validate).
HAVE_REMOTES = [name for name, links in LOOKUPS.items() if any("remote" in link for link in links)]


@pytest.mark.conformance("D1", "D2", "D3", "D4", "D5", "D7", "D10")
@pytest.mark.parametrize(
    ("kind", "lookup"),
    [*(("ip6gre", name) for name in LOOKUPS), *(("ip6gretap", name) for name in HAVE_REMOTES)],
)
def test_lookup_passes(oracle: KernelOracle, lookup: str, kind: str) -> None:
    """Each source and key, at tunnels that only some pass of the lookup finds; no key and key 0 are one."""
    specs = [
        LinkSpec(f"l{n}", kind, parameters)
        for n, parameters in enumerate(LOOKUPS[lookup])
        if kind == "ip6gre" or "remote" in parameters
    ]
    groups = {
        f"{lookup} {source}": [
            hostile.addressed(kind, source, GUEST_ADDRESS6, key) for key in (None, 0, 7, 42, 43)
        ]
        for source in (PEER, "2001:db8::21", "2001:db8::22", "2001:db8:5::1")
    }
    run_receive(oracle, specs, groups, DIFFERENCES)


@pytest.mark.conformance("D9")
def test_sources_that_nobody_has(oracle: KernelOracle) -> None:
    sources = ("::", "::1", "ff02::1", "ff0e::1", "::ffff:192.0.2.9", "::192.0.2.9", "fe80::9", "100::1",
               "2002:c000:209::1", GUEST_ADDRESS6, "fc00::1", "2001:db8:5::1")  # fmt: skip
    groups = {f"source {s}": [hostile.addressed("ip6gre", s, GUEST_ADDRESS6, None)] for s in sources}
    run_receive(oracle, [LinkSpec("open", "ip6gre", {"local": GUEST_ADDRESS6})], groups, DIFFERENCES)


@pytest.mark.conformance("A7")
def test_errors_to_senders_of_what_has_no_tunnel(oracle: KernelOracle) -> None:
    """ICMPv6 port unreachable, all of it."""
    run_receive(oracle, [spec("igre", "ip6gre", 1)], dict(hostile6.unclaimed_groups()), DIFFERENCES)
