"""A plugin in one file: nothing leaves by a port or link whose name ends in -off, and that is counted."""

import pytest

from vdp.api import Datapath, Egress, Packet, PacketType, Pipeline, hookimpl
from vdp.testing import Dataplane
from vdp.testing.builders import ipv4, udp

vdp_api = 1


@hookimpl
def vdp_stages(pipeline: Pipeline, datapath: Datapath) -> None:
    refused = datapath.counters.family("switch", "refused", "What did not leave, by egress.", ("egress",))

    def refuse(packet: Packet, egress: Egress) -> None:
        if egress.name.endswith("-off"):
            packet.drop("policy_rule", refused.labels(egress.name))

    pipeline.add(refuse, priority=50, name="refuse", owner="switch")


@pytest.mark.vdp("gre", f"switch={__name__}")
def test_what_is_switched_off_sends_nothing(plane: Dataplane) -> None:
    for name in ("lan", "wan", "wan-off"):
        plane.port(name, PacketType.L3)
    for wan, count in (("wan", 1), ("wan-off", 0)):
        plane.connect("lan", wan)
        plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)))
        assert len(plane.received(wan)) == count
    assert plane.counted("switch")['refused{egress="wan-off"}'][0] == 1
