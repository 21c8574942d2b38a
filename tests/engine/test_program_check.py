"""What makes a program one that may run: the table of both engines, operand by operand."""

from __future__ import annotations

import errno

import pytest

from tests.engine.conftest import POLICY, Bench, refused
from vdp.engine.interface import Engine, Match, Resolution, Resolve
from vdp.engine.program import (
    Account,
    Action,
    Checksum,
    Clone,
    Copy,
    Count,
    Drop,
    Fragment,
    Hash,
    Id,
    Length,
    Meta,
    MetaLoad,
    Output,
    Pull,
    Push,
    RequireChecksum,
    RequireLength,
    RequireSequence,
    RequireUdp,
    Segment,
    Sequence32,
    Set,
    State32,
    Trim,
    Ttl,
    UdpChecksum,
    Upcall,
)

END = Drop(1)
ELSE = (Drop(1),)
U32 = (1 << 32) - 1


def nested(depth: int) -> Action:
    """A clone in a clone in a clone."""
    action: Action = END
    for _ in range(depth):
        action = Clone((action, END)) if isinstance(action, Clone) else Clone((END,))
    return action


def doubling(depth: int) -> tuple[Action, ...]:
    """Two to the power of `depth` packets, less one."""
    body: tuple[Action, ...] = (END,)
    for _ in range(depth):
        body = (Clone(body), *body)
    return body


GOOD: dict[str, list[Action]] = {
    "drop": [Drop(0)],
    "drop_last_reason": [Drop(127)],
    "output": [Output(1)],
    "output_to_any_number": [Output(U32)],
    "end_in_the_middle": [END, Pull(1), END],
    "pull_all_offsets": [Pull(65535), END],
    "push_nothing": [Push(b""), END],
    "push_headroom": [Push(bytes(256)), END],
    "set_one": [Set(65535, b"\xff", b"\xff", 65535), END],
    "set_sixteen": [Set(0, bytes(16), bytes(16)), END],
    "copy": [Copy(65535, 65535, 0), END],
    "length": [Length(65535, 65535, -(1 << 31)), END],
    "id": [Id(65535, U32), END],
    "sequence": [Sequence32(0, 0), END],
    "checksum": [Checksum(0, 65535, 131071), END],
    "trim": [Trim(0, (1 << 31) - 1, ELSE), END],
    "require_checksum": [RequireChecksum(0, 131071, ELSE), END],
    "require_length": [RequireLength(7, 7, ELSE, True), END],
    "require_sequence": [RequireSequence(0, 0, ELSE, True, True), END],
    "state": [State32(65535, U32, -(1 << 31)), END],
    "ttl_4": [Ttl(4, 0, ELSE), END],
    "ttl_6": [Ttl(6, 65535, ELSE), END],
    "count": [Count(U32, -(1 << 31)), END],
    "account": [Account(U32, U32, U32, 65535), END],
    "segment": [Segment(0xFFFF, 131071), END],
    "hash": [Hash(65535, 65535, 64, 0xFFFF), END],
    "udp_checksum": [UdpChecksum(6, 65535, 65535), END],
    "require_udp": [RequireUdp(4, 65535, 65535, ELSE, True), END],
    "fragment": [Fragment(65535, 131071, ELSE), END],
    "fragment_least": [Fragment(0, 28, ELSE), END],
    "upcall": [Upcall(U32), END],
    "upcall with a state": [Upcall(U32, U32), END],
    "meta": [Meta(7, U32), END],
    "meta_load": [MetaLoad(7, 65535, U32), END],
    "all_actions": [*[Pull(0)] * 255, END],
    "all_constants": [*[Push(bytes([n]) * 256) for n in range(32)], END],
    "sixty_four_clones": [*[Clone(ELSE)] * 64, END],
    "clones_in_either_branch": [
        RequireLength(0, 9, (*[Clone(ELSE)] * 60, END)),
        *[Clone(ELSE)] * 60,
        END,
    ],
    "sixty_three_packets": list(doubling(6)),
}

BAD: dict[str, list[Action]] = {
    "empty": [],
    "no_end": [Pull(1)],
    "no_end_behind_one": [END, Pull(1)],
    "branch_without_end": [Trim(0, 0, (Pull(1),)), END],
    "empty_branch": [Trim(0, 0, ()), END],
    "empty_clone": [Clone(()), END],
    "branch_of_a_branch_without_end": [Trim(0, 0, (Trim(0, 0, (Pull(1),)), END)), END],
    "drop_reason": [Drop(128)],
    "drop_negative": [Drop(-1)],
    "output_number": [Output(1 << 32)],
    "pull": [Pull(65536), END],
    "hash_nothing": [Hash(0, 0, 0), END],
    "hash_too_much": [Hash(0, 0, 68), END],
    "hash_part_of_a_word": [Hash(0, 0, 6), END],
    "hash_mask": [Hash(0, 0, 4, 0x10000), END],
    "hash_offset": [Hash(65536, 0, 4), END],
    "udp_checksum_version": [UdpChecksum(5, 0, 20), END],
    "udp_checksum_offset": [UdpChecksum(4, 0, 65536), END],
    "require_udp_version": [RequireUdp(0, 0, 20, ELSE), END],
    "require_udp_offset": [RequireUdp(4, 65536, 20, ELSE), END],
    "require_udp_without_else": [RequireUdp(4, 0, 20, ()), END],
    "pull_negative": [Pull(-1), END],
    "push": [Push(bytes(257)), END],
    "set_nothing": [Set(0, b"", b""), END],
    "set_seventeen": [Set(0, bytes(17), bytes(17)), END],
    "set_value_short": [Set(0, b"\xff\xff", b"\xff"), END],
    "set_value_long": [Set(0, b"\xff", b"\xff\xff"), END],
    "set_offset": [Set(65536, b"\xff", b"\xff"), END],
    "set_checksum": [Set(0, b"\xff", b"\xff", 65536), END],
    "copy_to": [Copy(65536, 0), END],
    "copy_from": [Copy(0, 65536), END],
    "copy_mask": [Copy(0, 0, 256), END],
    "length_offset": [Length(65536), END],
    "length_start": [Length(0, 65536), END],
    "length_addend": [Length(0, 0, 1 << 31), END],
    "id": [Id(65536, 0), END],
    "id_state": [Id(0, 1 << 32), END],
    "sequence": [Sequence32(65536, 0), END],
    "checksum_offset": [Checksum(65536, 0), END],
    "checksum_start": [Checksum(0, 65536), END],
    "checksum_size": [Checksum(0, 0, 131072), END],
    "trim": [Trim(65536, 0, ELSE), END],
    "trim_addend": [Trim(0, -(1 << 31) - 1, ELSE), END],
    "require_checksum_start": [RequireChecksum(65536, 0, ELSE), END],
    "require_checksum_size": [RequireChecksum(0, 131072, ELSE), END],
    "require_length": [RequireLength(8, 7, ELSE), END],
    "require_sequence": [RequireSequence(65536, 0, ELSE), END],
    "state_offset": [State32(65536, 0), END],
    "state_number": [State32(0, 1 << 32), END],
    "state_addend": [State32(0, 0, 1 << 31), END],
    "ttl_version": [Ttl(5, 0, ELSE), END],
    "ttl_offset": [Ttl(4, 65536, ELSE), END],
    "count": [Count(1 << 32), END],
    "count_addend": [Count(0, 1 << 31), END],
    "account_sent": [Account(1 << 32, 0), END],
    "account_lost": [Account(0, 0, 1 << 32), END],
    "account_skip": [Account(0, 0, 0, 65536), END],
    "segment_features": [Segment(0x10000), END],
    "segment_most": [Segment(0, 131072), END],
    "fragment_offset": [Fragment(65536, 100, ELSE), END],
    "fragment_most": [Fragment(0, 131072, ELSE), END],
    "fragment_least": [Fragment(0, 27, ELSE), END],
    "upcall": [Upcall(1 << 32), END],
    "upcall with a state": [Upcall(0, 1 << 32), END],
    "meta_word": [Meta(8, 0), END],
    "meta_value": [Meta(0, 1 << 32), END],
    "meta_load_word": [MetaLoad(8, 0), END],
    "meta_load_offset": [MetaLoad(0, 65536), END],
    "fragment_without_branch": [Fragment(0, 28, ()), END],
    "clones_in_a_branch_of_fragment": [Fragment(0, 28, (*[Clone(ELSE)] * 65, END)), END],
    "bad_in_a_branch": [Trim(0, 0, (Pull(65536), END)), END],
    "bad_behind_an_end": [END, Pull(65536), END],
    "too_many_actions": [*[Pull(0)] * 256, END],
    "too_many_with_branches": [Trim(0, 0, (*[Pull(1)] * 128, END)), *[Pull(0)] * 127, END],
    "too_many_constants": [*[Push(bytes([n]) * 256) for n in range(32)], Push(b"\xff"), END],
    "sixty_five_clones": [*[Clone(ELSE)] * 65, END],
    "sixty_five_nested": [nested(65), END],
    "one_hundred_twenty_seven_packets": list(doubling(7)),
    "clones_in_a_branch_of_a_clone": [Clone((RequireLength(0, 9, (*[Clone(ELSE)] * 64, END)), END)), END],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_program_is_taken(engine: Engine, name: str) -> None:
    engine.check_program(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_program_is_refused(engine: Engine, name: str) -> None:
    with refused(errno.EINVAL):
        engine.check_program(BAD[name])


def test_install_refuses_a_bad_program(bench: Bench) -> None:
    with refused(errno.EINVAL):
        bench.flow(bench.x, Pull(1))
    assert bench.engine.dump(0) == []


def test_replace_refuses_a_bad_program_and_keeps_the_old_one(bench: Bench) -> None:
    flow = bench.flow(bench.x, Output(bench.y))
    with refused(errno.EINVAL):
        bench.engine.replace(0, flow, [Pull(1)])
    bench.send(bench.x, b"\1")
    assert bench.sent(bench.y) == [b"\1"]


def test_execute_refuses_a_bad_program(bench: Bench) -> None:
    with refused(errno.EINVAL):
        bench.engine.execute(0, bench.x, b"data", [Pull(1)])
    assert bench.engine.port_stats(bench.x).injected == 0


@pytest.mark.parametrize("kind", [Resolve.INSTALL, Resolve.EXECUTE])
@pytest.mark.parametrize("program", [[], [Pull(1)], [Drop(128)], [Pull(65536), END]])
def test_an_upcall_resolved_with_a_bad_program_is_dropped_as_handler_error(
    bench: Bench, kind: Resolve, program: list[Action]
) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    resolution = Resolution(upcall.token, kind, bench.match(bench.x), program)
    assert bench.resolve(resolution) == [-errno.EINVAL]
    assert bench.drops(bench.x) == {"handler_error": 1}
    assert bench.engine.dump(0) == []


MATCHES = {
    "value_outside_mask": Match(3, b"\xf0", b"\x0f", 1),
    "mask_beyond_the_least_length": Match(3, b"\0\0\1", b"\0\0\0", 2),
    "sizes_differ": Match(3, b"\xff", b"", 1),
    "window_too_large": Match(3, bytes(257), bytes(257), 300),
    "lengths_crossed": Match(3, b"", b"", 10, 9),
    "meta_value_outside_mask": Match(3, b"", b"", meta_mask=bytes(32), meta_value=b"\1" + bytes(31)),
}


@pytest.mark.parametrize("name", MATCHES)
def test_a_match_that_contradicts_itself_is_refused(bench: Bench, name: str) -> None:
    assert bench.x == 3
    with refused(errno.EINVAL):
        bench.engine.install(0, MATCHES[name], [Drop(POLICY)])
