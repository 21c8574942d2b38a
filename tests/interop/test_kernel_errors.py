"""ICMP errors about what a tunnel sent, given to the kernel and to vdp: what an inner sender hears of it.

For each case a link of its own sends a packet, a router's error quotes it, and three more
packets follow, the last one large: compared is what goes back to their sender, field by
field with the quotation, and what still leaves.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.interop import hostile
from tests.interop.kernel import GUEST_ADDRESS
from tests.interop.oracle import ASKER, GUEST_MAC, PEER_MAC, KernelOracle, LinkSpec, VdpOracle
from vdp.testing.builders import IP_ICMP, ethernet, icmp, ipv4

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(180),
    pytest.mark.conformance("A8", "A9", "G15", "G16", "I"),
]

UNREACHABLE, SOURCE_QUENCH, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 4, 11, 12
LEAST = 28  # quoted by routers before RFC 1812
LARGE = 1300
Answer = tuple[int, int, int, bytes]


@dataclass(frozen=True)
class Case:
    """Errors about one packet of a link.  reason: why vdp does otherwise, and then what it answers."""

    name: str
    errors: list[tuple[int, int, int]]  # type, code, rest
    parameters: dict[str, Any] = field(default_factory=dict)
    size: int = LEAST
    #: What must come back for the three packets: types and codes.
    told: list[tuple[int, int]] = field(default_factory=list)
    kernel_told: list[tuple[int, int]] | None = None
    reason: str = ""


FAILS = [(UNREACHABLE, 1)]
TOO_BIG = [(UNREACHABLE, 4)]
MIN_PMTU = (
    "the guest has learned by the small packets (tnl_update_pmtu, on its own route to the inner destination),"
    " and says 552, which it takes for the least; vdp says what the path leaves: 552 - 24"
)
CASES = [
    *(Case(f"unreachable {code}", [(UNREACHABLE, code, 0)], told=FAILS) for code in (0, 1, 2, 6, 9, 10, 13)),
    *(Case(f"unreachable {code}, no event", [(UNREACHABLE, code, 0)]) for code in (3, 5)),
    Case("twice", [(UNREACHABLE, 1, 0)] * 2, told=FAILS * 2),
    Case("more often than packets follow", [(UNREACHABLE, 1, 0)] * 5, told=FAILS * 3),
    Case("ttl exceeded", [(TIME_EXCEEDED, 0, 0)], {"ttl": 9}, told=FAILS),
    Case("inherited ttl exceeded", [(TIME_EXCEEDED, 0, 0)]),
    Case("reassembly time exceeded", [(TIME_EXCEEDED, 1, 0)], {"ttl": 9}),
    Case("parameter problem", [(PARAMETER_PROBLEM, 0, 0)]),
    Case("source quench", [(SOURCE_QUENCH, 0, 0)]),
    Case("frag needed", [(UNREACHABLE, 4, 1000)], told=TOO_BIG),
    Case("frag needed 576", [(UNREACHABLE, 4, 576)], told=TOO_BIG),
    Case("frag needed 552", [(UNREACHABLE, 4, 552)], told=TOO_BIG, reason=MIN_PMTU),
    Case("frag needed 68", [(UNREACHABLE, 4, 68)], told=TOO_BIG, reason=MIN_PMTU),
    Case("frag needed 0", [(UNREACHABLE, 4, 0)], told=TOO_BIG, reason=MIN_PMTU),
    Case("frag needed 1400", [(UNREACHABLE, 4, 1400)]),
    Case("frag needed, then less", [(UNREACHABLE, 4, 1200), (UNREACHABLE, 4, 900)], told=TOO_BIG),
    Case("both", [(UNREACHABLE, 1, 0), (UNREACHABLE, 4, 1000)], told=FAILS + TOO_BIG),
    Case("key", [(UNREACHABLE, 1, 0)], {"key": 7}, told=FAILS),
    Case("key and checksum, 8 bytes", [(UNREACHABLE, 1, 0)], {"key": 7, "csum": True}),
    Case("key and checksum, 12 bytes", [(UNREACHABLE, 1, 0)], {"key": 7, "csum": True}, LEAST + 4, FAILS),
    Case("checksum, cut", [(UNREACHABLE, 1, 0)], {"csum": True}, told=FAILS),
    Case("sequence", [(UNREACHABLE, 1, 0)], {"seq": True}, told=FAILS),
    Case("all, 16 bytes", [(UNREACHABLE, 1, 0)], {"key": 7, "csum": True, "seq": True}, LEAST + 8, FAILS),
    Case("4 bytes", [(UNREACHABLE, 1, 0)], {}, LEAST - 4, FAILS, [],
         "icmp_socket_deliver wants 8 bytes behind the quoted IP header; vdp the header that it needs"),
    Case("key and sequence, 8 bytes", [(UNREACHABLE, 1, 0)], {"key": 7, "seq": True}, LEAST, FAILS, [],
         "gre_parse_header wants the sequence number too; vdp, as ip6gre_err, what is down to the key"),
    Case("ikey and okey", [(UNREACHABLE, 1, 0)], {"ikey": 7, "okey": 8}, LEAST, FAILS, [],
         "ipgre_err looks for a tunnel that receives by the key that was sent; vdp for one that sends by it"),
]  # fmt: skip


def inner(number: int, size: int = 24) -> bytes:
    return hostile.inner4(size, dst=f"10.8.{number}.1", flags="DF")


def errors(case: Case, sent: bytes) -> list[bytes]:
    """About the frame `sent`, as frames to the guest."""
    quoted = sent[14 : 14 + case.size]
    messages = [icmp(kind, code, rest, quoted) for kind, code, rest in case.errors]
    packets = [ipv4(ASKER, GUEST_ADDRESS, message, protocol=IP_ICMP) for message in messages]
    return [ethernet(packet, to=GUEST_MAC, origin=PEER_MAC) for packet in packets]


def asked_kernel(oracle: KernelOracle, case: Case, packets: list[bytes]) -> tuple[list[Answer], int]:
    first, *others = (hostile.outer_mac(packet) for packet in packets)
    (sent,) = oracle.wire.exchange([first])
    assert oracle.wire.exchange(errors(case, sent)) == []
    frames = [frame for other in others for frame in oracle.wire.exchange([other])]
    answers = [hostile.icmp_error(frame[14:]) for frame in frames if frame[23] == IP_ICMP]
    return answers, sum(frame[23] == 47 for frame in frames)


def asked_vdp(vdp: VdpOracle, made: LinkSpec, case: Case, packets: list[bytes]) -> tuple[list[Answer], int]:
    first, *others = (hostile.frame(hostile.one_hop_on(packet)) for packet in packets)
    (sent,) = vdp.transmit({"first": (made.name, [first])})["first"].sent
    assert vdp.receive({"errors": errors(case, sent)})["errors"].sent == []
    outcome = vdp.transmit({"others": (made.name, others)})["others"]
    answers = [hostile.icmp_error(data) for _, data in outcome.output.get(made.name, [])]
    return answers, len(outcome.sent)


def test_what_inner_senders_hear(oracle: KernelOracle) -> None:
    specs = [
        LinkSpec(f"e{n}", "gre", {"local": GUEST_ADDRESS, "remote": f"192.0.2.{10 + n}"} | case.parameters)
        for n, case in enumerate(CASES)
    ]
    packets = [[inner(n), inner(n), inner(n), inner(n, LARGE - 28)] for n in range(len(CASES))]
    with oracle.links(*specs), oracle.routed({spec.name: [f"10.8.{n}.0/24"] for n, spec in enumerate(specs)}):
        from_kernel = [asked_kernel(oracle, case, sent) for case, sent in zip(CASES, packets, strict=True)]
    with closing(VdpOracle(specs)) as vdp:
        from_vdp = [
            asked_vdp(vdp, made, case, sent) for made, case, sent in zip(specs, CASES, packets, strict=True)
        ]
    wrong = []
    for case, kernel, ours in zip(CASES, from_kernel, from_vdp, strict=True):
        said = [[answer[:2] for answer in answers] for answers, _ in (kernel, ours)]
        wanted = [case.told if case.kernel_told is None else case.kernel_told, case.told]
        if said != wanted or (not case.reason and kernel != ours):
            short = [
                ([(*answer[:3], answer[3][:28]) for answer in given[0]], given[1]) for given in (kernel, ours)
            ]
            wrong.append(f"{case.name}: kernel {short[0]}, vdp {short[1]}, wanted {wanted}")
    assert not wrong, "\n".join(wrong)
