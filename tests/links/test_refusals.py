"""A device whose kernel refuses merged writes in truth: they are cut first, and cells join none."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.streams import segment4, stream4, stream6, super_packet
from tests.links.test_receive import LOCAL, REMOTE
from tests.plane import L3, MakePlane, Plane
from vdp import refusals
from vdp.engine.interface import Feature, PortConfig, PortType
from vdp.testing.builders import gre, ipv4, udp

ALL = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO
TCP = stream4([100, 100, 100])
UDP = [ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(100)), id=n) for n in range(3)]


class Device:
    """A plane with a link, and behind it a port that stands for a TUN device."""

    def __init__(self, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plane = plane
        plane.port("underlay", L3)
        plane.datapath.add_port(PortConfig("tun0", PortType.MEMORY, L3, features=ALL))
        self.port = plane.datapath.ports["tun0"]
        self.port.type = PortType.TUN
        plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
        plane.connect("tun0", "gre1")
        self.refuses = Feature.NONE
        ask = plane.engine.port_stats
        monkeypatch.setattr(plane.engine, "port_stats", lambda port: self._stats(port, ask))
        for packets in (TCP, stream6([9, 9]), UDP):
            self.joined(packets)  # while flows are new, packets go one by one

    def _stats(self, port: int, ask: Any) -> Any:
        return replace(ask(port), refuses=self.refuses) if port == self.port.number else ask(port)

    def follow(self, refuses: Feature) -> None:
        self.refuses = refuses
        refusals.follow(self.plane.datapath)
        self.plane.datapath.revalidate()

    def joined(self, packets: list[bytes]) -> list[int]:
        """GSO type of what arrives when these come in as one batch."""
        protocol = 0x0800 if packets[0][0] >> 4 == 4 else 0x86DD
        self.plane.send(
            "underlay", *(ipv4(REMOTE, LOCAL, gre(data, protocol), protocol=47) for data in packets)
        )
        return [packet.offload.gso_type for packet in self.plane.collect("tun0")]


@pytest.fixture
def device(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(make_plane(), monkeypatch)


@pytest.mark.conformance("F3", "J")
def test_what_it_refuses_is_joined_no_more_and_all_else_is(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    assert (device.joined(TCP), device.joined(stream6([9, 9])), device.joined(UDP)) == ([1], [4], [5])
    with caplog.at_level(logging.WARNING):
        device.follow(Feature.USO)
    assert "port tun0: the kernel keeps refusing super-packets of UDP" in caplog.text
    assert (device.joined(TCP), device.joined(UDP)) == ([1], [0] * 3)
    device.follow(Feature.USO | Feature.TSO4)
    assert (device.joined(TCP), device.joined(stream6([9, 9])), device.joined(UDP)) == ([0] * 3, [4], [0] * 3)


def test_it_gets_another_chance_when_it_is_set_up(device: Device) -> None:
    device.follow(Feature.USO | Feature.TSO4)
    device.follow(Feature.NONE)
    assert (device.port.features, device.port.refused) == (ALL, Feature.NONE)
    assert (device.joined(TCP), device.joined(UDP)) == ([1], [5])


@pytest.mark.conformance("H2")
def test_a_super_packet_that_comes_whole_is_cut_for_it(device: Device) -> None:
    whole = super_packet(segment4(bytes(300)), 100)
    front = ipv4(REMOTE, LOCAL, gre(whole.data), protocol=47)
    offload = replace(whole.offload, csum_start=44)
    device.plane.send("underlay", front, offload=offload)
    assert [packet.offload.gso_type for packet in device.plane.collect("tun0")] == [1]
    device.follow(Feature.TSO4)
    device.plane.send("underlay", front, offload=offload)
    assert [len(packet.data) for packet in device.plane.collect("tun0")] == [140] * 3


def test_what_it_never_took_is_no_news(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    device.port.features = Feature.CSUM
    with caplog.at_level(logging.WARNING):
        device.follow(Feature.USO)
    assert not caplog.records
    device.follow(Feature.NONE)
    assert device.port.features == Feature.CSUM


def test_a_link_that_joins_nothing_goes_on_so(device: Device) -> None:
    link = device.plane.datapath.links["gre1"]
    link.change_gro(False)
    device.follow(Feature.USO)
    device.follow(Feature.NONE)
    assert device.joined(TCP) == [0] * 3
