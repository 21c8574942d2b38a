"""What can not be cut for a link is its tx_dropped (gre_handle_offloads), and dropped where it came in."""

from __future__ import annotations

import pytest

from tests.plane import L3, A, B, Plane
from vdp.engine.interface import Offload
from vdp.testing.builders import ipv4, tcp

SIZE = 500


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    plane.port("lan", L3)
    return plane


def super_packet_in_a_tunnel() -> tuple[bytes, Offload]:
    """TCP in IPv4 in IPv4, of which only the innermost header is known to offloads."""
    inner = ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, bytes(2000)))
    return ipv4("10.1.0.1", "10.1.0.2", inner, protocol=4), Offload(True, 40, 16, 1, SIZE)


@pytest.mark.conformance("G3")
@pytest.mark.parametrize("extra", [{}, {"csum": True, "seq": True}], ids=["plain", "csum, seq"])
def test_a_super_packet_that_can_not_be_cut_is_the_links_tx_dropped(
    plane: Plane, extra: dict[str, bool]
) -> None:
    link = plane.link("link1", "gre", local=A, remote=B, **extra)
    plane.connect("lan", "link1")
    data, offload = super_packet_in_a_tunnel()
    for count in (1, 2):  # traced, and by the megaflow
        plane.send("lan", data, offload=offload)
        assert link.stats()["tx_dropped"] == count
        assert plane.drops("lan") == {"gso_unsupported": count}
    assert link.stats()["tx_packets"] == 0
    assert plane.received("underlay") == []


@pytest.mark.conformance("G3")
def test_one_that_can_be_cut_is_not_counted(plane: Plane) -> None:
    link = plane.link("link1", "gre", local=A, remote=B)
    plane.connect("lan", "link1")
    data = ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, bytes(2000)))
    plane.send("lan", data, offload=Offload(True, 20, 16, 1, SIZE))
    assert len(plane.received("underlay")) == 4
    assert link.stats()["tx_dropped"] == 0
    assert link.stats()["tx_packets"] == 4
