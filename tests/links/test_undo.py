"""Making a link, step by step: setup and init, bind, table, open; and what remains when one of them fails.

Nothing: not a cell, a counter, a state, a cookie, a place in a table or a membership.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.books import present_ports
from tests.plane import L2, L3, MAC_A, A, B, MakePlane, Plane
from vdp.links.gre_tunnel import GreTunnel
from vdp.links.groups import Groups
from vdp.links.link import LinkError
from vdp.links.paths import Paths
from vdp.links.tunnel_table import TunnelTable

KINDS = {"gre": {}, "gretap": {"key": 5, "seq": True, "csum": True}}
#: What init takes of an engine, and how often at least.
TAKES = {"add_port": 1, "new_counter": 13, "new_state": 2, "new_window": 0}


class OutOfRoom(OSError):
    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "no more of that")


def left(plane: Plane) -> dict[str, Any]:
    """All that a link may have taken."""
    engine, datapath = plane.engine, plane.datapath
    counters, states = [engine.new_counter() for _ in range(64)], [engine.new_state() for _ in range(64)]
    for counter, state in zip(counters, states, strict=True):
        engine.free_counter(counter)
        engine.free_state(state)
    return {
        "ports": present_ports(engine),
        "counters": max(counters),
        "states": max(states),
        "cookies": len(datapath.cookies),
        "chores": len(datapath._chores),
        "links": sorted(datapath.links),
        "tunnels": sorted(t.name for kind in ("gre", "gretap") for t in datapath.plugins.kinds[kind].table),  # type: ignore[attr-defined]
        "local": sorted(datapath.local_addresses(datapath.ports["underlay"])),
    }


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane()
    plane.port("underlay", L2, mac=MAC_A)
    plane.link("other", "gre", local=A, remote="192.0.2.77")
    return plane


def fails_at(count: int, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """`wrapped`, whose call number `count` (from 0) fails."""
    calls = iter(range(1000))

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == count:
            raise OutOfRoom
        return wrapped(*arguments, **named)

    return call


@pytest.mark.conformance("A12", "B7", "B20")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("take", TAKES)
def test_an_engine_that_has_no_more_leaves_nothing_of_a_link_half_made(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, take: str, kind: str
) -> None:
    """Each call in its turn is the one that fails, until none is left to fail."""
    before = left(plane)
    for count in range(100):
        with monkeypatch.context() as patch:
            patch.setattr(plane.engine, take, fails_at(count, getattr(plane.engine, take)))
            try:
                plane.link("link1", kind, local=A, remote=B, **KINDS[kind])  # type: ignore[arg-type]
            except OutOfRoom:
                pass
            else:
                break
        assert left(plane) == before, f"{take} number {count}"
    assert count >= TAKES[take]
    plane.remove_link("link1")
    assert left(plane) == before


async def _refuse(*arguments: Any, **named: Any) -> Any:
    raise OutOfRoom


def _refuse_now(*arguments: Any, **named: Any) -> Any:
    raise OutOfRoom


STEPS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "configure": (GreTunnel, "configure", _refuse_now),
    "bind": (GreTunnel, "bind", _refuse),
    "find": (Paths, "find", _refuse),
    "add": (TunnelTable, "add", _refuse_now),
    "open": (GreTunnel, "open", _refuse_now),
    "join": (Groups, "join", _refuse_now),
}


@pytest.mark.conformance("A12", "B1", "B7")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_undoes_those_before_it(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, step: str, kind: str
) -> None:
    before = left(plane)
    remote = "239.1.1.1" if step == "join" else B
    with monkeypatch.context() as patch:
        patch.setattr(*STEPS[step])
        with pytest.raises(OutOfRoom):
            plane.link("link1", kind, local=A, remote=remote, **KINDS[kind])  # type: ignore[arg-type]
    assert left(plane) == before
    link = plane.link("link1", kind, local=A, remote=B, **KINDS[kind])  # type: ignore[arg-type]
    assert link.fill_info()["remote"] == B


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("configure", "join")])
def test_a_change_that_fails_leaves_the_link_as_it_was(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    link = plane.link("link1", "gre", local=A, remote=B)
    before, said = left(plane), link.fill_info()
    owner, name, refuse = STEPS[step]
    whole = getattr(owner, name)

    def once(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(owner, name, whole)
        return refuse(*arguments, **named)

    monkeypatch.setattr(owner, name, once)
    with pytest.raises(OutOfRoom):
        plane.change_link("link1", local=A, remote="192.0.2.9", key=7)
    assert (left(plane), link.fill_info(), link.mtu) == (before, said, 1476)


@pytest.mark.conformance("B1", "B6")
def test_steps_are_taken_in_the_kernels_order(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def note(owner: type, name: str) -> None:
        wrapped = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            taken.append(name)
            return wrapped(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((TunnelTable, "refuse_duplicate"), (GreTunnel, "configure"), (GreTunnel, "bind"),
                        (TunnelTable, "add"), (GreTunnel, "open")):  # fmt: skip
        note(owner, name)
    plane.link("link1", "gre", local=A, remote=B)
    # ip_tunnel_find, setup and ndo_init, ip_tunnel_bind_dev, ip_tunnel_add (which asks again), ndo_open
    assert taken == ["refuse_duplicate", "configure", "bind", "add", "refuse_duplicate", "open"]


@pytest.mark.conformance("B1")
def test_one_that_is_made_down_is_not_opened(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GreTunnel, "open", _refuse_now)
    assert not plane.link("link1", "gre", local=A, remote=B, up=False).up


@pytest.mark.conformance("B2")
@pytest.mark.parametrize("key", ["flags", "version", "routing", "iflags"])
def test_there_is_no_word_for_version_and_routing_flags(plane: Plane, key: str) -> None:
    """ipgre_tunnel_validate refuses them in the flag words; here the options have names, and these none."""
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match=key):
        plane.link("link1", "gre", local=A, remote=B, **{key: 0x4000})


@pytest.mark.conformance("B6", "B7")
def test_a_duplicate_is_found_before_anything_is_taken(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(plane.engine, "add_port", _refuse_now)
        with pytest.raises(LinkError) as caught:
            plane.link("again", "gre", local=A, remote="192.0.2.77")
    assert caught.value.errno == errno.EEXIST


def test_the_underlay_of_l3_needs_no_frames(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    before = left(plane)
    plane.link("link1", "gre", local=A, remote=B)
    plane.remove_link("link1")
    assert left(plane) == before
