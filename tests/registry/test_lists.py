"""Registration: one handler a priority or slot, refusals that name both owners, removal by the owner only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

import pytest

from vdp.api import Packet, Verdict
from vdp.registry import HandlerList, Registered, Registry, RegistryError, SlotTable
from vdp.time_limit import TimeLimit


class Host:
    """What a registry asks of its dataplane, noted."""

    def __init__(self) -> None:
        self.limit = TimeLimit()
        self.changed: list[str] = []
        self.counters = 0
        self.retired: list[int] = []
        self.undo: list[Callable[[], None]] = []

    def handler_failed(self, registered: Registered, error: BaseException) -> None:
        raise AssertionError(error)

    def handlers_changed(self, name: str) -> None:
        self.changed.append(name)

    def new_counter(self) -> int:
        self.counters += 1
        return self.counters

    def retire(self, counters: Iterable[int]) -> None:
        self.retired += counters

    def undoable(self, undo: Callable[[], None]) -> None:
        self.undo.append(undo)


def take(packet: Packet) -> Verdict:
    return Verdict.RECEIVED


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def handlers(host: Host) -> HandlerList:
    return HandlerList("gre_cisco", host)


@pytest.fixture
def table(host: Host) -> SlotTable:
    return SlotTable("gre_version", 2, host)


@pytest.mark.conformance("A4", "A15")
def test_handlers_are_in_order_of_priority_whatever_the_order_of_adding(handlers: HandlerList) -> None:
    for priority in (300, 1, 200, 65535, 0):
        handlers.add(take, priority=priority, name=f"p{priority}", owner="test")
    assert [item.priority for item in handlers] == [0, 1, 200, 300, 65535]


@pytest.mark.conformance("A5", "A15")
def test_a_taken_priority_is_busy_and_both_owners_are_named(handlers: HandlerList) -> None:
    handlers.add(take, priority=5, name="first", owner="alpha")
    with pytest.raises(RegistryError) as caught:
        handlers.add(take, priority=5, name="second", owner="beta")
    assert caught.value.errno == errno.EBUSY
    assert str(caught.value.strerror) == (
        "gre_cisco: priority 5, wanted by second of beta, is taken by first of alpha"
    )
    assert [item.name for item in handlers] == ["first"]


@pytest.mark.conformance("A5")
def test_only_the_owner_removes(handlers: HandlerList) -> None:
    mine = handlers.add(take, priority=5, name="first", owner="alpha")
    with pytest.raises(RegistryError) as caught:
        handlers.remove(mine, "beta")
    assert caught.value.errno == errno.EINVAL
    assert "first of alpha is not beta's to remove" in str(caught.value)
    handlers.remove(mine, "alpha")
    assert list(handlers) == []


@pytest.mark.conformance("A5")
def test_what_is_not_there_can_not_be_removed(handlers: HandlerList) -> None:
    mine = handlers.add(take, priority=5, name="first", owner="alpha")
    handlers.remove(mine, "alpha")
    with pytest.raises(RegistryError) as caught:
        handlers.remove(mine, "alpha")
    assert caught.value.errno == errno.EINVAL


@pytest.mark.conformance("A5")
def test_a_handle_of_a_removed_handler_does_not_remove_its_successor(handlers: HandlerList) -> None:
    """The same function, priority, name and owner again: another registration all the same."""
    old = handlers.add(take, priority=5, name="first", owner="alpha")
    handlers.remove(old, "alpha")
    new = handlers.add(take, priority=5, name="first", owner="alpha")
    new.counters = dict(old.counters)
    with pytest.raises(RegistryError):
        handlers.remove(old, "alpha")
    assert list(handlers) == [new]


def test_a_freed_priority_can_be_taken_again(handlers: HandlerList) -> None:
    handlers.remove(handlers.add(take, priority=5, name="first", owner="alpha"), "alpha")
    handlers.add(take, priority=5, name="second", owner="beta")
    assert [item.name for item in handlers] == ["second"]


def test_all_of_an_owner_go_at_once_and_nobody_elses(host: Host) -> None:
    registry = Registry(host)
    for owner in ("alpha", "beta"):
        registry.list("gre_cisco").add(take, priority=len(owner), name=owner, owner=owner)
        registry.table("ip_protocol").add(take, slot=40 + len(owner), name=owner, owner=owner)
    registry.remove_owner("alpha")
    assert [item.owner for item in registry] == ["beta", "beta"]


@pytest.mark.conformance("A2")
def test_a_slot_out_of_range_is_invalid(table: SlotTable) -> None:
    for slot in (-1, 2, 256):
        with pytest.raises(RegistryError) as caught:
            table.add(take, slot=slot, name="x", owner="test")
        assert caught.value.errno == errno.EINVAL
    assert list(table) == []


@pytest.mark.conformance("A3")
def test_a_taken_slot_is_busy_and_both_owners_are_named(table: SlotTable) -> None:
    table.add(take, slot=1, name="pptp", owner="alpha")
    with pytest.raises(RegistryError) as caught:
        table.add(take, slot=1, name="other", owner="beta")
    assert caught.value.errno == errno.EBUSY
    assert "slot 1, wanted by other of beta, is taken by pptp of alpha" in str(caught.value)


@pytest.mark.conformance("A3")
def test_removing_somebody_elses_slot_is_busy(table: SlotTable) -> None:
    """gre_del_protocol: -EBUSY unless it is the handler that is there."""
    mine = table.add(take, slot=1, name="pptp", owner="alpha")
    for owner, registered in (("beta", mine), ("alpha", Registered("gre_version", 1, "pptp", "alpha", take))):
        with pytest.raises(RegistryError) as caught:
            table.remove(registered, owner)
        assert caught.value.errno == errno.EBUSY
    table.remove(mine, "alpha")
    assert 1 not in table


def test_every_change_is_told(host: Host, handlers: HandlerList, table: SlotTable) -> None:
    mine = handlers.add(take, priority=5, name="first", owner="alpha")
    handlers.remove(mine, "alpha")
    theirs = table.add(take, slot=1, name="pptp", owner="alpha")
    table.remove(theirs, "alpha")
    assert host.changed == ["gre_cisco"] * 2 + ["gre_version"] * 2


def test_an_owner_that_has_nothing_changes_nothing(
    host: Host, handlers: HandlerList, table: SlotTable
) -> None:
    """Each change has flows traced again."""
    handlers.add(take, priority=5, name="first", owner="alpha")
    table.add(take, slot=1, name="pptp", owner="beta")
    host.changed.clear()
    handlers.remove_owner("beta")
    table.remove_owner("alpha")
    host.undo[0]()
    host.undo[0]()
    assert host.changed == ["gre_cisco"]


@pytest.mark.conformance("A5")
def test_a_refused_registration_changes_nothing(host: Host, handlers: HandlerList) -> None:
    handlers.add(take, priority=5, name="first", owner="alpha")
    before = (list(host.changed), host.counters)
    with pytest.raises(RegistryError):
        handlers.add(take, priority=5, name="second", owner="beta")
    assert (host.changed, host.counters) == before


def test_lists_come_into_being_when_asked_for_and_stay(host: Host) -> None:
    registry = Registry(host)
    assert registry.list("my_protocol") is registry.list("my_protocol")
    assert registry.table("gre_version", 2) is registry.table("gre_version")
    assert registry.table("gre_version").size == 2
    assert registry.table("gre_version", 4) is registry.table("gre_version")
    assert registry.table("gre_version", 2).size == 4, "as many as anybody asked for"


@pytest.mark.conformance("A10")
def test_counters_of_what_is_removed_are_given_back(
    host: Host, handlers: HandlerList, table: SlotTable
) -> None:
    handlers.remove(handlers.add(take, priority=5, name="first", owner="alpha"), "alpha")
    table.add(take, slot=1, name="pptp", owner="alpha")
    table.remove_owner("alpha")
    assert sorted(host.retired) == list(range(1, host.counters + 1))


@pytest.mark.conformance("A12")
def test_a_registration_is_taken_back_whoever_it_is_said_to_belong_to(
    host: Host, handlers: HandlerList, table: SlotTable
) -> None:
    handlers.add(take, priority=5, name="first", owner="alpha")
    table.add(take, slot=1, name="pptp", owner="beta")
    kept = handlers.add(take, priority=6, name="second", owner="alpha")
    host.undo.pop()
    while host.undo:
        host.undo.pop()()
    assert (list(handlers), list(table)) == ([kept], [])
    assert len(host.retired) == 2 * len(kept.counters)


@pytest.mark.conformance("A10")
def test_a_walk_that_is_under_way_asks_those_that_it_began_with(handlers: HandlerList) -> None:
    first = handlers.add(take, priority=1, name="first", owner="alpha")
    second = handlers.add(take, priority=2, name="second", owner="alpha")
    asked = []
    for registered in handlers:
        asked.append(registered)
        handlers.remove(registered, "alpha")
    assert asked == [first, second]
    assert list(handlers) == []
