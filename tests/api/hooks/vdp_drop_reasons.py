"""A plugin in one file: a decoder whose losses have a name."""

import pytest

from vdp.api import Datapath, IPv4, Packet, PacketType, TunnelInfo, Verdict, hookimpl
from vdp.testing import Dataplane
from vdp.testing.builders import gre, ipv4

vdp_api = 1


@hookimpl
def vdp_drop_reasons() -> dict[str, str]:
    return {"colour": "the packet has the wrong colour"}


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("plugin_paint_colour") if info.protocol == 0x88B9 else Verdict.REJECT

    datapath.registry.list("gre_cisco").add(receive, priority=1, name="paint_rcv", owner="paint")


@pytest.mark.vdp("gre", f"paint={__name__}")
def test_the_loss_has_the_plugins_name_and_sentence(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("gre1", "gre", local="192.0.2.1")
    plane.send("underlay", ipv4("192.0.2.2", "192.0.2.1", gre(bytes(20), 0x88B9), protocol=47))
    assert plane.drops("underlay") == {"plugin_paint_colour": 1}
    drops = plane.datapath.drops
    assert drops.text(drops.code("plugin_paint_colour")) == "the packet has the wrong colour"
