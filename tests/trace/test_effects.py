"""Effects: the actions that a trace yields, and that reading agrees with what the engine then does."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from tests.conftest import EngineFactory
from tests.trace.views import CODE, view
from vdp.drops import Drops
from vdp.engine import program as act
from vdp.engine.interface import Engine, EngineConfig, MemoryPacket, PacketType, PortConfig, PortType
from vdp.engine.native import NativeEngine
from vdp.header import FillLength
from vdp.packet import Packet
from vdp.protocols.arp import Arp
from vdp.protocols.ethernet import Ethernet
from vdp.protocols.gre import GreBase
from vdp.protocols.ip import IPv4, IPv6
from vdp.testing.builders import ethernet, ipv4, udp
from vdp.testing.reference import ReferenceEngine
from vdp.trace import TraceError, Truncated

PACKET = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"payload"))
BAD = (act.Drop(CODE("policy_rule")),)


def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(TraceError, match="without an output or a drop"):
        view(PACKET).program()


def test_after_its_end_a_packet_takes_no_more_effects() -> None:
    packet = view(PACKET)
    packet.output(2)
    drop, count = partial(packet.drop, "policy_rule"), partial(packet.count, 1)
    for effect in (partial(packet.pull, 1), drop, count, packet.clone):
        with pytest.raises(TraceError, match="already output or dropped"):
            effect()
    assert packet.program() == (act.Output(2),)


def test_a_drop_counts_and_then_ends() -> None:
    packet = view(PACKET)
    packet.drop("tunnel_ecn", 4, (5, -14))
    assert packet.program() == (act.Count(4), act.Count(5, -14), act.Drop(CODE("tunnel_ecn")))


def test_pulling_nothing_does_nothing() -> None:
    packet = view(PACKET)
    packet.pull(0)
    packet.output(2)
    assert packet.program() == (act.Output(2),)


def test_a_clone_goes_its_own_way_and_must_end_too() -> None:
    packet = view(PACKET)
    packet.push(b"ab")
    copy = packet.clone()
    packet.pull(2)
    copy.push(b"c")
    assert copy.read(0, 3) == b"cab"
    packet.output(2)
    with pytest.raises(TraceError):
        packet.program()
    copy.output(3)
    assert packet.program() == (
        act.Push(b"ab"), act.Clone((act.Push(b"c"), act.Output(3))), act.Pull(2), act.Output(2),
    )  # fmt: skip


def test_a_clones_writes_stay_its_own() -> None:
    packet = view(PACKET)
    packet.header(IPv4).set(ttl=9)
    copy = packet.clone()
    copy.header(IPv4).set(ttl=3)
    copy.set_register(0, 1)
    assert packet.header(IPv4).ttl == 9
    assert packet.register(0) == 0
    assert copy.header(IPv4).ttl == 3


def test_a_clone_of_a_clone_is_nested() -> None:
    packet = view(PACKET)
    copy = packet.clone()
    again = copy.clone()
    for number, each in enumerate((packet, copy, again)):
        each.output(number + 1)
    assert packet.program() == (act.Clone((act.Clone((act.Output(3),)), act.Output(2))), act.Output(1))


# -- trim and lengths ------------------------------------------------------------------------


def trimmed(data: bytes) -> Packet:
    packet = view(data)
    packet.trim(2, 0, BAD)
    return packet


def test_behind_a_trim_a_header_requires_its_length_of_each_packet() -> None:
    packet = trimmed(PACKET)
    packet.header(IPv4)
    assert packet.actions[-1] == act.RequireLength(20, 65792, (act.Drop(CODE("parse_truncated")),))


def test_behind_a_trim_reading_bytes_requires_them_of_each_packet() -> None:
    packet = trimmed(PACKET)
    packet.read(20, 4)
    assert packet.actions[-1] == act.RequireLength(24, 65792, (act.Drop(CODE("parse_truncated")),))
    packet.read_masked(26, b"\xff")
    assert packet.actions[-1] == act.RequireLength(27, 65792, (act.Drop(CODE("parse_truncated")),))


def test_what_was_required_once_is_not_required_again() -> None:
    packet = trimmed(PACKET)
    packet.require_length(24, BAD)
    before = len(packet.actions)
    packet.header(IPv4)
    packet.require_length(24, BAD)
    assert len(packet.actions) == before
    packet.pull(4)
    packet.require_length(20, BAD)
    assert len(packet.actions) == before + 1
    packet.require_length(21, BAD)
    assert packet.actions[-1] == act.RequireLength(21, 65792, BAD)


def test_pushed_bytes_need_no_requirement() -> None:
    packet = trimmed(PACKET)
    GreBase.push(packet)
    before = len(packet.actions)
    assert packet.header(GreBase).protocol == 0
    assert len(packet.actions) == before


def test_an_upper_bound_is_always_asked_for() -> None:
    packet = view(PACKET)
    packet.require_length(0, BAD, most=1500, per_segment=True)
    assert packet.actions == [act.RequireLength(0, 1500, BAD, True)]


# -- fields to write -------------------------------------------------------------------------


def test_setting_fields_of_an_ip_header_keeps_its_checksum(make_engine: EngineFactory) -> None:
    packet = view(PACKET)
    packet.header(IPv4).set(ecn=3, source=0x0A0000FE)
    out = run(make_engine(), packet, PACKET)
    assert out == ipv4("10.0.0.254", "10.0.0.2", udp(1, 2, b"payload"), tos=3)[:20] + PACKET[20:]


def test_setting_more_than_sixteen_bytes_at_once_works(make_engine: EngineFactory) -> None:
    """One SET writes 16 bytes at most; a header may ask for more."""
    packet = view(bytes(60))
    header = packet.header(IPv6)
    header.set(source=(1 << 128) - 1, destination=5, hop_limit=9)
    assert (header.source, header.destination, header.hop_limit) == ((1 << 128) - 1, 5, 9)
    data = run(make_engine(), packet, bytes(60))
    assert data == bytes(7) + b"\x09" + b"\xff" * 16 + bytes(15) + b"\x05" + bytes(20)


def test_an_arp_request_can_be_turned_into_its_reply(make_engine: EngineFactory) -> None:
    packet = view(bytes(60))
    packet.header(Arp, 14).set(
        operation=2, sender_mac=b"123456", sender_ip=7, target_mac=b"abcdef", target_ip=8
    )
    data = run(make_engine(), packet, bytes(60))
    assert data[14:42] == bytes(6) + b"\0\x02123456" + b"\0\0\0\7" + b"abcdef" + b"\0\0\0\x08"


@pytest.mark.conformance("G5", "G6")
def test_a_pushed_header_is_filled_in_lengths_first_checksums_last(make_engine: EngineFactory) -> None:
    from vdp.header import FillChecksum

    packet = view(PACKET)
    IPv4.push(packet, version=4, ihl=5, checksum=FillChecksum(0, 20), total_length=FillLength(), ttl=1)
    data = run(make_engine(), packet, PACKET)
    assert data == ipv4("0.0.0.0", "0.0.0.0", PACKET, protocol=0, ttl=1, flags=0)


def test_a_header_pulled_and_covered_again_can_not_be_changed() -> None:
    """Its place is gone; what lies there now is another's."""
    packet = view(PACKET)
    GreBase.push(packet, protocol=1)
    old = packet.header(GreBase)
    packet.pull(4)
    GreBase.push(packet, protocol=2)
    assert old.protocol == 1
    with pytest.raises(TraceError):
        old.set(protocol=3)


# -- reading agrees with running ---------------------------------------------------------------


def run(engine: Engine, packet: Packet, data: bytes) -> bytes:
    """What the engine makes of `data` by the packet's actions."""
    into = engine.add_port(PortConfig("in", PortType.MEMORY, PacketType.L3))
    out = engine.add_port(PortConfig("out", PortType.MEMORY, PacketType.L3))
    packet.output(out)
    engine.execute(0, into, data, packet.program(), bytes(3) + b"\1" + bytes(28))
    engine.poll()
    sent = engine.collect(out)
    if sent is None:
        lost = [reason.name for reason in Drops() if engine.port_drops(into)[reason.code]]
        raise LookupError(f"nothing came out: {lost}")
    return sent.data


@st.composite
def effects(draw: st.DrawFn) -> list[tuple[str, tuple[object, ...]]]:
    one = st.one_of(
        st.tuples(st.just("pull"), st.tuples(st.integers(0, 12))),
        st.tuples(st.just("push"), st.tuples(st.binary(min_size=1, max_size=12))),
        st.tuples(st.just("set"), st.tuples(st.integers(0, 30), st.binary(min_size=1, max_size=6),
        st.binary(min_size=6, max_size=6))),
        st.tuples(st.just("length"), st.tuples(st.integers(0, 30))),
        st.tuples(st.just("ttl"), st.tuples(st.integers(0, 20))),
        st.tuples(st.just("clone"), st.just(())),
    )  # fmt: skip
    return draw(st.lists(one, max_size=8))


def apply(packet: Packet, name: str, args: tuple[object, ...]) -> None:
    match name, args:
        case "pull", (int(size),):
            packet.pull(size)
        case "push", (bytes(data),):
            packet.push(data)
        case "set", (int(offset), bytes(mask), bytes(value)):
            packet.set(offset, mask, value[: len(mask)])
        case "length", (int(offset),):
            if packet.has(offset + 2):
                packet.fill(offset, FillLength())
        case "ttl", (int(offset),):
            if packet.has(offset + 20):
                packet.decrement_ttl(4, offset, packet.otherwise("ttl_expired"))
        case _:
            packet.clone().drop("policy_rule")


@pytest.mark.parametrize("kind", [NativeEngine, ReferenceEngine])
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(effects(), st.integers(40, 60), st.data())
def test_what_a_trace_reads_is_what_the_engine_has_there(
    kind: type[NativeEngine], todo: list[tuple[str, tuple[object, ...]]], size: int, data: DataObject
) -> None:
    """After any effects: a byte that can be read has in the engine the value that was read."""
    original = bytes(byte | 0x10 for byte in data.draw(st.binary(min_size=size, max_size=size)))
    packet = view(original)
    for name, args in todo:
        try:
            apply(packet, name, args)
        except Truncated:
            break
    read: dict[int, int] = {}
    at = 0
    while packet.has(at + 1):
        try:
            read[at] = packet.read(at, 1)[0]
        except TraceError as error:
            if "can not be read" not in str(error):
                raise
        at += 1
    engine = kind(EngineConfig(packets=64))
    try:
        sent = run(engine, packet, original)
    except LookupError as error:
        assume("ttl_expired" not in str(error))
        raise
    finally:
        engine.close()
    assert len(sent) == at
    assert {offset: sent[offset] for offset in read} == read
    unread = {offset for offset in range(at) if offset not in read}
    filled = sum({"length": 2, "ttl": 3}.get(name, 0) for name, _ in todo)
    assert len(unread) <= filled, "only what the engine fills in is kept from handlers"


def test_frames_of_the_ethernet_header_can_be_rewritten(make_engine: EngineFactory) -> None:
    frame = ethernet(PACKET)
    packet = view(frame)
    packet.header(Ethernet).set(destination=b"abcdef")
    assert run(make_engine(), packet, frame) == b"abcdef" + frame[6:]
    assert MemoryPacket(frame).data == frame
