"""A plugin that registers anew, with other settings: its links stay, and do what the settings now say."""

from __future__ import annotations

import importlib
import logging

import pytest

from tests.plane import L3, A, B, MakePlane, Plane
from tests.testing.conftest import Install, forget_modules, installed
from vdp.imaginary.journey import Journey
from vdp.plugin_change import PluginChange
from vdp.testing.builders import ipv4, udp

__all__ = ["forget_modules", "installed"]

BOX = """
    from typing import ClassVar

    from pydantic import BaseModel
    from vdp.api import Bits, EndpointParameters, Header, IpTunnel, IpTunnelKind, IPv4, PacketType
    from vdp.api import UdpParameters, UdpReceiver, hookimpl

    vdp_api = 1

    class Settings(BaseModel):
        version: int = 1
        takes: list[int] = []
        mark: int = 0

    vdp_settings = Settings

    class Box(Header):
        version = Bits(8)

    class Parameters(UdpParameters, EndpointParameters):
        has_fallback = False
        input_key: ClassVar = 0
        sent_key: ClassVar = 0
        header_size: ClassVar = 1

    class Tunnel(IpTunnel):
        def push_header(self, packet, protocol):
            Box.push(packet, version=self.datapath.settings("box", Settings).version)

    class Decoder:
        def __init__(self, table, version):
            self.table, self.version = table, version

        def receive(self, packet, ip, udp):
            tunnel = self.table.lookup(packet, ip.source, ip.destination, 0)
            if tunnel is None or packet.header(Box, ip.payload).version != self.version:
                return packet.drop("plugin_box_version")
            return tunnel.decapsulate(packet, ip, ip.payload + Box.SIZE, 0x800)

    class Kind(IpTunnelKind):
        name = "box"
        packet_type = PacketType.L3
        parameters = Parameters
        tunnel = Tunnel

        def udp_receiver(self, datapath):
            return UdpReceiver("box_rcv", "box", self.decoder.receive)

    @hookimpl
    def vdp_link_kinds():
        return [Kind()]

    @hookimpl
    def vdp_drop_reasons():
        return {"version": "a header of another version"}

    def mark(argument):
        dscp, count = MARK, FAMILY.labels(argument)

        def act(packet):
            packet.count(count)
            packet.header(IPv4).set(dscp=dscp)

        return act

    MARK, FAMILY = 0, None

    @hookimpl
    def vdp_actions():
        return {"mark": mark}

    @hookimpl
    def vdp_register(datapath):
        global MARK, FAMILY
        settings = datapath.settings("box", Settings)
        MARK, FAMILY = settings.mark, datapath.counters.family("box", "marked", "Marked.", ["word"])
        kind = datapath.kind(Kind)
        kind.decoder = Decoder(kind.table, settings.version)
        for port in settings.takes:
            datapath.registry.table("udp_port").add(
                lambda packet, ip, udp: packet.drop("policy_rule"), slot=port, name="taker", owner="box"
            )
"""
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))


def packet(version: int, port: int = 6080) -> bytes:
    return ipv4(B, A, udp(50000, port, bytes([version]) + INNER))


@pytest.fixture
def plane(make_plane: MakePlane, installed: Install) -> Plane:
    plane = make_plane(("gre", installed("box", BOX)))
    for name in ("underlay", "lan", "wan"):
        plane.port(name, L3)
    for number, port in enumerate((6080, 6080, 6081)):
        remote = f"192.0.2.{2 + number}"
        plane.link(f"box{number}", "box", local=A, remote=remote, encap_dport=port)
    plane.connect("lan", "box0")
    return plane


def renew(plane: Plane, **settings: object) -> None:
    model = importlib.import_module("vdp_box").Settings
    PluginChange(plane.datapath).renew("box", model(**settings))


def test_links_over_udp_hear_by_the_receiver_of_the_new_settings(plane: Plane) -> None:
    plane.send("underlay", packet(1))
    renew(plane, version=2)
    plane.send("underlay", packet(1), packet(2))
    assert plane.received("lan") == [INNER, INNER]
    assert plane.drops("underlay") == {"plugin_box_version": 1}
    for name in list(plane.datapath.links):
        plane.remove_link(name)
    assert list(plane.datapath.udp[4].ports) == [], "each took its port once, and gave it back"


def test_flows_of_what_links_send_follow_the_settings(plane: Plane) -> None:
    for version in (1, 2):
        renew(plane, version=version)
        plane.send("lan", INNER)
        (sent,) = plane.received("underlay")
        assert sent[28:] == bytes([version]) + INNER


def test_a_link_whose_port_the_plugin_takes_says_so_and_the_others_go_on(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        renew(plane, takes=[6081])
    (line,) = caplog.messages
    assert line.startswith(
        "link box2 receives nothing by UDP any more: LinkError: link box2: udp_port: slot 6081"
    )
    plane.send("underlay", packet(1))
    assert plane.received("lan") == [INNER]
    renew(plane)
    plane.remove_link("box2")
    assert [handler.priority for handler in plane.datapath.udp[4].ports] == [6080]


def test_actions_of_rules_are_made_anew(plane: Plane) -> None:
    plane.rule(match={"in_port": "wan"}, actions=["box.mark:word", "output:lan"])
    for mark in (0, 3):
        renew(plane, mark=mark)
        plane.send("wan", INNER)
        (marked,) = plane.received("lan")
        assert marked[1] >> 2 == mark
        assert plane.counted("box") == {'marked{word="word"}': (1, len(INNER))}


def test_an_action_that_an_imaginary_packet_met_first_counts_by_what_it_has(plane: Plane) -> None:
    """What was made for it of the engine went back, and is others' by then."""
    plane.rule(match={"in_port": "wan"}, actions=["box.mark:word", "output:lan"])
    renew(plane)  # what the rule was checked by is gone
    Journey(plane.datapath).receive(plane.datapath.ports["wan"], INNER)
    others = plane.engine.new_counter()
    plane.send("wan", INNER)
    assert plane.counted("box") == {'marked{word="word"}': (1, len(INNER))}
    assert plane.engine.read_counter(others).packets == 0


def test_what_vdp_makes_for_a_packet_that_a_plugin_sends_at_its_start_is_not_the_plugins(
    plane: Plane,
) -> None:
    """The state that counts identifications between two addresses is all links' between them."""
    datapath = plane.datapath
    plane.link("gre1", "gre", local=A, remote=B)
    with datapath.attempt("box") as registered:
        datapath.send("gre1", INNER, L3, 0x800)
        used = dict(datapath.identifications._states)
        registered.take_back()
    assert used
    assert datapath.identifications._states == used
