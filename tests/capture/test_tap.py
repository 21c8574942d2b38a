"""The engine's taps under a whole dataplane: what is counted is what is shown."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.capture.conftest import INNER, LOCAL, REMOTE, gre_packet
from vdp.capture.expression import ExpressionError, compile_expression
from vdp.engine.interface import EngineConfig, PacketType
from vdp.engine.native import NativeEngine
from vdp.engine.tap import READ_BYTES, Tap, TapConfig, TapPoint, TapRecord, records
from vdp.testing.dataplane import Dataplane


def read(tap: Tap) -> list[TapRecord]:
    found: list[TapRecord] = []
    while chunk := tap.read(0):
        assert len(chunk) <= READ_BYTES
        found += records(chunk)
    return found


def broken(random: Random, count: int) -> list[bytes]:
    """GRE packets, cut short or with bits flipped, perhaps both."""
    packets = []
    for _ in range(count):
        packet = bytearray(gre_packet(key=random.choice((7, 8))))
        del packet[random.randrange(1, len(packet) + 1) :]
        for _ in range(random.randrange(3)):
            packet[random.randrange(len(packet))] ^= 1 << random.randrange(8)
        packets.append(bytes(packet))
    return packets


def test_every_loss_is_shown_under_the_reason_that_counts_it() -> None:
    engine = NativeEngine(EngineConfig(packets=256))
    with Dataplane(engine, ("gre", "gretap", "wccp")) as plane:
        for name in ("underlay", "lan", "alone"):
            plane.port(name, PacketType.L3)
        plane.link("gre1", "gre", local=LOCAL, remote=REMOTE, key=7)
        plane.connect("lan", "gre1")
        tap = Tap(engine, TapConfig(TapPoint.DROP, snap=64))
        plane.send("alone", INNER)
        engine.set_port_up(plane.datapath.ports["lan"].number, False)
        plane.send("underlay", gre_packet())
        engine.set_port_up(plane.datapath.ports["lan"].number, True)
        random = Random(7)
        for _ in range(20):
            plane.send("underlay", *broken(random, 50))
            plane.received("lan")
        drops = plane.datapath.drops
        shown = Counter((record.port, drops.name(record.reason)) for record in read(tap))
        numbers = [*(port.number for port in plane.datapath.ports.values())]
        numbers += [link.number for link in plane.datapath.links.values()]
        counted = {
            (number, drops.name(code)): count
            for number in numbers
            for code, count in enumerate(engine.port_drops(number))
            if count
        }
        tap.close()
    assert shown == counted
    assert len({reason for _, reason in counted}) >= 8
    assert {"no_forwarding", "port_down", "tunnel_no_link"} <= {reason for _, reason in counted}


def test_the_engine_takes_the_packets_that_libpcap_s_programs_take() -> None:
    engine = NativeEngine()
    with Dataplane(engine, ("gre",)) as plane:
        plane.port("in", PacketType.L3)
        packet = gre_packet()
        verdicts = {
            "ip proto gre": True,
            "proto 47 or tcp": True,
            "ip[2:2] > 60 and src host 192.0.2.2": True,
            "net 192.0.2.0/30 and not udp": True,
            "ip6": False,
            "tcp port 80": False,
            "greater 1000": False,
            "ether host 02:00:00:00:00:01": False,
            "proto 47 and ip[(ip[0] & 0xf) << 2] = 0x20": True,
        }
        for text, is_taken in verdicts.items():
            tap = Tap(engine, TapConfig(TapPoint.RX, filters=compile_expression(text)))
            plane.send("in", packet)
            assert len(read(tap)) == is_taken, text
            tap.close()


def test_what_is_no_expression_is_refused_in_libpcap_s_words() -> None:
    with pytest.raises(ExpressionError, match=r"'tcp pourt 5' is no filter: .*syntax error"):
        compile_expression("tcp pourt 5")
