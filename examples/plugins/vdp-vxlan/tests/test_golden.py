"""What Linux 6.1 sent: ARP and pings by vxlan devices without and with `udpcsum`, and over IPv6 (tcpdump)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.utils import rdpcap
from vdp.testing import Dataplane

from vdp_vxlan.samples import samples

CAPTURE = Path(__file__).parent / "golden" / "linux.pcap"


def test_every_packet_of_linux_comes_out_as_scapy_reads_it(
    plane: Dataplane, golden: Callable[..., Any]
) -> None:
    list(samples(plane))
    replayed = golden(plane, "underlay", CAPTURE.name)
    carried = [bytes(Ether(bytes(packet))[VXLAN].payload) for packet in rdpcap(str(CAPTURE))]
    assert len(carried) >= 15
    assert [frame for lan in ("lan", "lan6") for frame in replayed.sent[lan]] == carried
