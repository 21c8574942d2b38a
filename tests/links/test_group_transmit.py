"""What is sent to a group: ipgre_xmit takes the destination from the header that ipgre_header made."""

from __future__ import annotations

import pytest

from tests.plane import L2, L3, MAC_A, A, MakePlane
from vdp.testing.builders import ethernet, ipv4, udp

GROUP = "239.1.1.1"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))


@pytest.mark.conformance("B15", "G1")
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_a_link_to_a_group_sends_to_the_group(make_plane: MakePlane, kind: str) -> None:
    plane = make_plane()
    plane.port("underlay", L2, mac=MAC_A)
    plane.port("lan", L2 if kind == "gretap" else L3)
    plane.link("gre1", kind, local=A, remote=GROUP, ttl=5)
    plane.connect("lan", "gre1")
    plane.send("lan", ethernet(INNER) if kind == "gretap" else INNER)
    (sent,) = plane.received("underlay")
    assert sent[14:] == ipv4(A, GROUP, sent[34:], protocol=47, ttl=5, id=1)
    assert plane.counters("gre1")["tx_packets"] == 1
