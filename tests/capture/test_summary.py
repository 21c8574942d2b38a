"""A packet in a line, whatever its bytes are."""

from __future__ import annotations

from random import Random

import pytest

from tests.capture.conftest import INNER, gre_packet
from vdp.capture.summary import L2, L3, summary
from vdp.testing import builders

MACS = "02:00:00:00:00:01 > 02:00:00:00:00:02"
ECHO = builders.ipv4("10.0.0.1", "10.0.0.2", builders.icmp(8), protocol=1)
FRAME = builders.ethernet(INNER, ethertype=0x0800)
SAID = {
    f"{MACS}: IP 10.0.0.2 > 10.0.0.1: UDP 4000 > 53, length 5": (FRAME, L2),
    f"{MACS} vlan 7: IP 10.0.0.2 > 10.0.0.1: UDP 4000 > 53, length 5": (builders.vlan(FRAME, 7), L2),
    "IP 10.0.0.1 > 10.0.0.2: ICMP echo request": (ECHO, L3),
    "IP6 fe80::1 > fe80::2: ICMPv6 echo reply": (
        builders.ipv6("fe80::1", "fe80::2", builders.icmp6(129)), L3,
    ),
    "IP 10.0.0.1 > 10.0.0.2: TCP 80 > 5000 [S.] seq 9 ack 4, length 3": (
        builders.ipv4("10.0.0.1", "10.0.0.2", builders.tcp(80, 5000, b"abc", seq=9, ack=4, flags=0x12)), L3,
    ),
    "IP 192.0.2.2 > 192.0.2.1: GRE key 7: IP 10.0.0.2 > 10.0.0.1: UDP 4000 > 53, length 5": (
        gre_packet(), L3,
    ),
    f"IP 10.0.0.1 > 10.0.0.2: GRE seq 5: {MACS}: IP 10.0.0.2 > 10.0.0.1: UDP 4000 > 53, length 5": (
        builders.ipv4("10.0.0.1", "10.0.0.2", builders.gre(FRAME, 0x6558, sequence=5), protocol=47), L3,
    ),
    "IP 10.0.0.1 > 10.0.0.2: protocol 89": (builders.ipv4("10.0.0.1", "10.0.0.2", b"x", protocol=89), L3),
    "[ethernet cut short]": (b"\1\2\3", L2),
    "empty": (b"", L2),
}  # fmt: skip


@pytest.mark.parametrize("said", SAID)
def test_headers_from_the_outside_in(said: str) -> None:
    assert summary(*SAID[said]) == said


def test_any_bytes_make_a_line() -> None:
    random = Random(3)
    for _ in range(3000):
        data, packet_type = random.choice(list(SAID.values()))
        changed = bytearray(data[: random.randrange(len(data) + 1)])
        for _ in range(random.randrange(4)):
            if changed:
                changed[random.randrange(len(changed))] = random.randrange(256)
        assert summary(bytes(changed), packet_type)
