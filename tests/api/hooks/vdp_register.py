"""A plugin in one file: drops what is tunnelled by one peer."""

from ipaddress import IPv4Address

import pytest

from vdp.api import Datapath, IPv4, Packet, PacketType, TunnelInfo, Verdict, hookimpl
from vdp.testing import Dataplane
from vdp.testing.builders import gre, ipv4

vdp_api = 1
UNWANTED = int(IPv4Address("192.0.2.66"))


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if ip.source == UNWANTED else Verdict.REJECT

    datapath.registry.list("gre_cisco").add(receive, priority=1, name="unwanted", owner="register")


@pytest.mark.vdp("gre", f"register={__name__}")
def test_one_peer_is_refused_and_others_are_not(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("gre1", "gre", local="192.0.2.1")
    for sender in ("192.0.2.66", "192.0.2.2"):
        plane.send("underlay", ipv4(sender, "192.0.2.1", gre(bytes(20)), protocol=47))
    assert plane.drops("underlay") == {"policy_rule": 1}
