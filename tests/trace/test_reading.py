"""Reading a packet: what is a guard, what is a constant, and what can not be read."""

from __future__ import annotations

import inspect

import pytest

from tests.trace.views import bits, looked_at, meta_words, view
from vdp.engine import program as act
from vdp.engine.interface import WINDOW, PacketType
from vdp.header import Bits, FillChecksum, FillCopy, FillId, FillLength, FillSequence, Header, Octets
from vdp.packet import Packet
from vdp.protocols.ethernet import Ethernet
from vdp.protocols.gre import GreBase
from vdp.protocols.ip import IPv4, IPv6
from vdp.testing.builders import ethernet, ipv4, udp
from vdp.trace import HeaderBudget, TraceError, Truncated

PACKET = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"payload"), tos=0xB9, ttl=63, id=0x1234)
FRAME = ethernet(PACKET)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in (IPv4, IPv6, Ethernet, GreBase) for field in kind.fields()],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_reading_a_field_looks_at_exactly_its_bits(kind: type[Header], field: str) -> None:
    packet = view(bytes(range(64)))
    value = getattr(packet.header(kind, 8), field)
    item = kind.fields()[field]
    assert looked_at(packet) == bits(64 + item.start, item.width)
    whole = int.from_bytes(bytes(range(64)), "big")
    wanted = whole >> (512 - 64 - item.start - item.width) & ((1 << item.width) - 1)
    assert value == (wanted.to_bytes(item.width // 8, "big") if isinstance(item, Octets) else wanted)


def test_taking_a_header_looks_at_nothing_but_that_it_is_there() -> None:
    packet = view(FRAME)
    packet.header(IPv4, 14)
    assert looked_at(packet) == {}
    assert packet.trace.match().min_length == 34


def test_a_match_is_as_wide_as_what_was_looked_at() -> None:
    packet = view(FRAME)
    assert packet.trace.match().mask == b""
    assert packet.header(Ethernet).type == 0x0800
    match = packet.trace.match()
    assert (match.mask, match.value) == (bytes(12) + b"\xff\xff", bytes(12) + b"\x08\x00")


def test_looking_twice_makes_one_guard() -> None:
    packet = view(FRAME)
    for _ in range(2):
        assert packet.header(Ethernet).type == 0x0800
    guards = packet.trace.guards
    assert [(guard.space, guard.label) for guard in guards] == [("length", ""), ("packet", "Ethernet.type")]


def test_masked_bytes_are_guarded_by_their_mask() -> None:
    packet = view(FRAME)
    assert packet.read_masked(0, b"\x01\0\0\0\0\x0f") == b"\0\0\0\0\0\x02"
    assert looked_at(packet) == {0: 0x01, 5: 0x0F}


def test_bytes_read_plainly_are_guarded_whole() -> None:
    packet = view(FRAME)
    assert packet.read(12, 2) == b"\x08\x00"
    assert looked_at(packet) == bits(96, 16)


def test_that_a_packet_is_long_enough_is_a_guard_and_that_it_is_not_is_another() -> None:
    packet = view(bytes(20))
    assert packet.has(12)
    assert not packet.has(31)
    assert packet.has(4)
    assert not packet.has(40)
    match = packet.trace.match()
    assert (match.min_length, match.max_length) == (12, 30)


def test_a_header_that_is_not_all_there_is_truncated_and_guards_that_it_is_not() -> None:
    packet = view(bytes(20))
    with pytest.raises(Truncated):
        packet.header(IPv4, 14)
    assert packet.trace.match().max_length == 33


def test_reading_past_the_end_is_truncated() -> None:
    packet = view(bytes(20))
    for read in (
        lambda: packet.read(18, 4),
        lambda: packet.read_masked(19, b"\0\1"),
        lambda: packet.pull(21),
    ):
        with pytest.raises(Truncated):
            read()


def test_beyond_the_window_is_the_header_budget() -> None:
    packet = view(bytes(400))
    assert packet.read(WINDOW - 4, 4) == bytes(4)
    with pytest.raises(HeaderBudget):
        packet.read(WINDOW - 3, 4)


def test_pushed_bytes_are_constants() -> None:
    packet = view(PACKET)
    GreBase.push(packet, key=1, protocol=0x0800)
    gre = packet.header(GreBase)
    assert (gre.key, gre.seq, gre.protocol) == (1, 0, 0x0800)
    assert packet.read(0, 4) == b"\x20\0\x08\0"
    assert looked_at(packet) == {}
    assert packet.trace.match().min_length == 0


def test_behind_pushed_bytes_the_packet_is_read_as_it_came_in() -> None:
    packet = view(PACKET)
    GreBase.push(packet)
    assert packet.header(IPv4, 4).ttl == 63
    assert looked_at(packet) == {8: 0xFF}
    assert packet.trace.match().min_length == 20


def test_what_lies_half_in_pushed_bytes_can_not_be_read() -> None:
    packet = view(PACKET)
    packet.push(b"\0\0")
    with pytest.raises(TraceError):
        packet.header(GreBase)


def test_a_header_can_be_read_after_it_was_pulled_but_not_changed() -> None:
    packet = view(FRAME)
    ethernet_header, ip = packet.header(Ethernet), packet.header(IPv4, 14)
    packet.pull(14)
    assert ethernet_header.type == 0x0800
    assert (ip.offset, ip.ttl) == (0, 63)
    with pytest.raises(TraceError):
        ethernet_header.set(type=0x86DD)
    assert looked_at(packet) == bits(96, 16) | bits((14 + 8) * 8, 8)


def test_pulling_moves_the_front_and_lengths_count_from_there() -> None:
    packet = view(FRAME)
    packet.pull(14)
    assert packet.header(IPv4).ttl == 63
    assert not packet.has(len(FRAME) - 13)
    assert packet.trace.match().max_length == len(FRAME)


@pytest.mark.parametrize(
    ("fill", "size"),
    [(FillLength(), 2), (FillId(1), 2), (FillChecksum(), 2), (FillSequence(1), 4), (FillCopy(8), 1)],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "received"])
def test_what_the_engine_fills_in_can_not_be_read_and_what_is_beside_it_can(
    fill: FillLength, size: int, pushed: bool
) -> None:
    packet = view(PACKET)
    if pushed:
        packet.push(bytes(range(16)))
    before = packet.read(0, 16)
    packet.fill(4, fill)
    for at in range(16):
        if 4 <= at < 4 + size:
            with pytest.raises(TraceError):
                packet.read(at, 1)
        else:
            assert packet.read(at, 1) == before[at : at + 1]


def test_of_a_byte_copied_under_a_mask_the_other_bits_can_be_read() -> None:
    packet = view(PACKET)
    packet.push(b"\xff\0")
    packet.fill(0, FillCopy(1, mask=0x0F))
    assert packet.read_masked(0, b"\xf0") == b"\xf0"
    with pytest.raises(TraceError):
        packet.read_masked(0, b"\x01")


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "received"])
def test_written_bits_are_constants_and_the_others_are_not(pushed: bool) -> None:
    packet = view(PACKET)
    if pushed:
        IPv4.push(packet, version=4, ihl=5, ttl=9, ecn=1)
    ip = packet.header(IPv4)
    ip.set(ecn=2, ttl=7)
    fresh = packet.header(IPv4)
    assert (ip.ecn, ip.ttl, fresh.ecn, fresh.ttl) == (2, 7, 2, 7)
    assert looked_at(packet) == {}
    assert fresh.dscp == (0 if pushed else 0xB9 >> 2)
    assert looked_at(packet) == ({} if pushed else {1: 0xFC})


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "received"])
def test_a_checksum_that_is_adjusted_can_not_be_read(pushed: bool) -> None:
    packet = view(PACKET)
    if pushed:
        IPv4.push(packet, version=4, ihl=5)
    ip = packet.header(IPv4)
    ip.set(ecn=2)
    with pytest.raises(TraceError):
        _ = ip.checksum
    with pytest.raises(TraceError):
        _ = packet.header(IPv4).checksum


def test_a_decremented_ttl_can_not_be_read() -> None:
    packet = view(PACKET)
    packet.decrement_ttl(4, 0, packet.otherwise("ttl_expired"))
    ip = packet.header(IPv4)
    for field in ("ttl", "checksum"):
        with pytest.raises(TraceError):
            getattr(ip, field)
    assert ip.protocol == 17


def test_of_what_may_be_a_fragment_length_offset_and_checksum_can_not_be_read() -> None:
    packet = view(PACKET)
    packet.fragment(0, 576, packet.otherwise("mtu_exceeded"))
    ip = packet.header(IPv4)
    for field in ("total_length", "fragment", "checksum"):
        with pytest.raises(TraceError):
            getattr(ip, field)
    assert packet.read_bits(ip.place, IPv4.fragment.start + 1, 1) == 1, "DF is the same in all of them"
    assert (ip.ttl, ip.identification, ip.protocol) == (63, 0x1234, 17)


# -- metadata --------------------------------------------------------------------------------


def test_metadata_is_guarded_by_word_and_mask() -> None:
    packet = view(PACKET, meta_words(w0=1, w1=0x0800, w2=0x12345678))
    assert packet.packet_type is PacketType.L3
    assert packet.register(0, 0xFF00) == 0x5600
    match = packet.trace.match()
    assert match.meta_mask == meta_words(w0=0xFFFFFFFF, w2=0xFF00)
    assert match.meta_value == meta_words(w0=1, w2=0x5600)


def test_written_metadata_is_a_constant() -> None:
    packet = view(PACKET)
    packet.set_register(3, 0xABCD)
    packet.set_type(PacketType.L3, 0x0800)
    assert (packet.register(3, 0xFF), packet.packet_type, packet.protocol) == (0xCD, PacketType.L3, 0x0800)
    assert packet.trace.match().meta_mask == bytes(32)


def test_a_register_loaded_from_each_packet_can_not_be_read() -> None:
    packet = view(PACKET)
    packet.load_register(0, 12)
    with pytest.raises(TraceError):
        packet.register(0)
    assert looked_at(packet) == {}


@pytest.mark.conformance("E8", "C17")
def test_scrubbing_clears_what_is_set_and_looks_only_at_what_it_does_not_know() -> None:
    packet = view(PACKET, meta_words(w4=9))
    packet.set_register(0, 5)
    packet.load_register(1, 0)
    packet.set_register(4, 0)
    packet.scrub()
    assert [packet.register(number) for number in range(5)] == [0] * 5
    words = [action.word for action in packet.actions if isinstance(action, act.Meta)]
    assert words == [2, 6, 2, 3, 4]
    assert packet.trace.match().meta_mask == meta_words(w4=0xFFFFFFFF, w5=0xFFFFFFFF)


def test_there_are_five_registers() -> None:
    with pytest.raises(ValueError, match="there are 5"):
        view(PACKET).register(5)


# -- sources ---------------------------------------------------------------------------------


def here(offset: int = 0) -> str:
    """This test file and the caller's line, as guards and actions name it."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"trace/test_reading.py:{frame.f_back.f_lineno + offset}"


def test_guards_and_actions_name_the_line_of_their_author() -> None:
    packet = view(FRAME)
    assert packet.packet_type is PacketType.L2
    ip = packet.header(IPv4, 14)
    assert ip.protocol == 17
    wanted = [here(-3), here(-2), here(-1)]
    packet.pull(14)
    ip.set(ttl=1)
    GreBase.push(packet, protocol=0x0800)
    packet.drop("policy_rule", 3)
    assert [guard.source for guard in packet.trace.guards] == wanted
    made = [here(-5), here(-4), here(-3), here(-2), here(-2)]
    assert [action.source for action in packet.actions] == made


# -- declaring headers -----------------------------------------------------------------------


def test_a_header_is_made_of_whole_bytes() -> None:
    with pytest.raises(TypeError, match="12 bits are not whole bytes"):
        type("Odd", (Header,), {"a": Bits(4), "b": Bits(8)})


def test_packing_refuses_unknown_fields_and_values_that_do_not_fit() -> None:
    assert GreBase.pack(key=1, protocol=0x6558) == b"\x20\0\x65\x58"
    with pytest.raises(TypeError, match="has no field 'colour'; it has csum, routing"):
        GreBase.pack(colour=1)
    with pytest.raises(ValueError, match="protocol: 65536 does not fit 16 bits"):
        GreBase.pack(protocol=0x10000)
    with pytest.raises(ValueError, match="source: 5 bytes, 6 needed"):
        Ethernet.pack(source=bytes(5))


def test_setting_refuses_unknown_fields() -> None:
    with pytest.raises(TypeError, match="has no field 'colour'"):
        view(PACKET).header(IPv4).set(colour=1)


def test_only_a_field_that_begins_on_a_byte_can_be_filled_in() -> None:
    class Shifted(Header):
        rest = Bits(4)
        size = Bits(16)
        more = Bits(4)

    packet: Packet = view(PACKET)
    with pytest.raises(TraceError, match=r"Shifted\.size does not start on a byte"):
        Shifted.push(packet, size=FillLength())
