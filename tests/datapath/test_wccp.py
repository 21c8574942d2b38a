"""WCCP on the wire: what a router redirects comes out of the cache's TUN, without its headers."""

from __future__ import annotations

import sys

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from tests.lab import Lab, wait_for

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

CACHE, ROUTER = "192.0.2.1", "192.0.2.2"
REDIRECT = bytes.fromhex("00000048")  # service 0, primary bucket 72
#: Sends packets given in hex as its arguments, IP headers included.
SEND = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for packet in map(bytes.fromhex, sys.argv[1:]):
    out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
"""


@pytest.mark.conformance("C13", "K1", "K2")
@pytest.mark.parametrize("kind", ["gre", "wccp"])
@pytest.mark.parametrize(
    "underlay", ['protocol = "gre"', 'interface = "eth0"'], ids=["protocol", "interface"]
)
def test_redirected_packets_of_both_versions_arrive_bare(lab: Lab, underlay: str, kind: str) -> None:
    cache, router, inside = lab.host("cache"), lab.host("router"), lab.host("inside")
    lab.cable(cache, f"{CACHE}/24", router, f"{ROUTER}/24")
    daemon = lab.vdp(
        cache,
        f"""
[[port]]
name = "underlay"
type = "raw"
{underlay}
[[port]]
name = "tun0"
type = "tun"
netns = "{inside.name}"
address = ["10.0.0.1/24"]
[[link]]
name = "w0"
kind = "{kind}"
underlay = "underlay"
local = "{CACHE}"
remote = "{ROUTER}"
[[connect]]
members = ["tun0", "w0"]
[plugins]
load = ["gre", "wccp"]
""",
    )
    outer = IP(src=ROUTER, dst=CACHE, proto=47) / GRE(proto=0x883E)
    inner = [
        bytes(IP(src="10.9.0.2", dst="10.9.0.3") / UDP(sport=n, dport=80) / Raw(b"x" * 32)) for n in (1, 2)
    ]
    sent = [bytes(outer / Raw(inner[0])), bytes(outer / Raw(REDIRECT + inner[1]))]
    with inside.capture("tun0", "udp") as seen:
        router.run(sys.executable, "-c", SEND, *(packet.hex() for packet in sent))
        wait_for("both packets", lambda: daemon.ports()["tun0"]["counters"]["tx_packets"] >= 2 or None)
        wait_for("both in the capture", lambda: len(seen.packets()) >= 2 or None)
    assert sorted(bytes(packet[IP]) for packet in seen.packets()) == sorted(inner)
    handlers = {row["name"]: row["verdicts"]["received"] for row in daemon.ask("handler.list")}
    assert handlers["wccp_rcv"] == 2
