"""Where protocol handlers register: slot tables and priority lists, as in Linux.

`SlotTable` is inet_protos or gre_proto: one handler a slot.  `HandlerList` is
gre_cisco_proto_list with any number of priorities: lower is asked first, a taken
priority is refused naming both owners, only the owner removes, the first answer other
than REJECT ends the walk, and REJECT leaves the packet as it was.

Handlers run in the slow path only, once a flow.  One that raises counts as REJECT; one that
takes too long is interrupted, and its packet dropped; one that does so again and again is
passed over (vdp.quarantine).  When a removal returns, no flow rests on what the handler
decided, and no packet is offered to it.
"""

from __future__ import annotations

import errno
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Concatenate, Protocol

from vdp.histogram import Histogram
from vdp.quarantine import Conduct
from vdp.rehearsal import Offer
from vdp.time_limit import HandlerTimeout, TimeLimit, is_others
from vdp.trace import HeaderBudget, Truncated, Undecided, place
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.packet import Packet

Receive = Callable[Concatenate["Packet", ...], Verdict]
#: Who registers vdp's own handlers.
OWNER = "vdp"


class Host(Protocol):
    """What a registry asks of its dataplane."""

    #: How long a handler may take.
    limit: TimeLimit

    def handler_failed(self, registered: Registered, error: BaseException) -> None:
        """A handler raised, or was interrupted (HandlerTimeout)."""

    def handlers_changed(self, name: str) -> None:
        """A list or table has other handlers now: what it decided is to be decided anew."""

    def new_counter(self) -> int:
        """An engine counter."""

    def retire(self, counters: Iterable[int]) -> None:
        """Give engine counters back, as soon as no flow counts by them."""

    def undoable(self, undo: Callable[[], None]) -> None:
        """Something was registered: `undo` takes it back, if its plugin turns out to fail."""


class RegistryError(OSError):
    """A registration or removal that the registry refuses: EBUSY or EINVAL, and a sentence."""

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(slots=True, eq=False)
class Registered:
    """A handler in a list or table, and what became of the packets that it was offered.

    `error` (Linux err_handler) gets the front of a packet that we sent, as an ICMP error quotes it.
    """

    list: str
    priority: int
    name: str
    owner: str
    receive: Receive
    error: Receive | None = None
    #: Engine counters of the packets that it was offered, by outcome.
    counters: dict[str, int] = field(default_factory=dict)
    #: The same for traces: how often it ran.
    verdicts: Counter[str] = field(default_factory=Counter)
    #: What its error handler made of ICMP errors: a verdict, or "error" where it raised.
    errors: Counter[str] = field(default_factory=Counter)
    #: Seconds that it took, each time; and all in all without those of handlers that it asked.
    durations: Histogram = field(default_factory=Histogram)
    own_seconds: float = 0.0
    last_error: str = ""
    conduct: Conduct = field(default_factory=Conduct)

    @property
    def seconds(self) -> float:
        """Spent in it altogether."""
        return self.durations.sum

    def offer(self, packet: Packet, args: tuple[Any, ...], host: Host) -> Verdict:
        """Ask the handler.  An exception is REJECT; short packets, deep headers and timeouts pass."""
        state = packet.checkpoint()
        rehearsal = packet.trace.rehearsal
        if rehearsal is not None:
            rehearsal.begin(self._offered(packet))
        outer_s, packet.trace.nested_s = packet.trace.nested_s, 0.0
        started = time.perf_counter()
        before = host.limit.words.begin(self)
        run = host.limit.enter()
        try:
            verdict = self.receive(packet, *args)
            if not isinstance(verdict, Verdict):
                raise TypeError(f"{self.name} answered {verdict!r}, not a Verdict")
            outcome = verdict.value
        except (Truncated, HeaderBudget):
            self._came_to("drop", packet, state, Verdict.REJECT)
            raise
        except Undecided:
            raise
        except HandlerTimeout as timeout:
            is_mine = timeout.run is run
            if is_mine:
                self._failed(timeout, packet, host)
            self._came_to("timeout" if is_mine else "drop", packet, state, Verdict.REJECT)
            raise
        except BaseException as error:  # whatever it raises, it has raised
            self._failed(error, packet, host)
            verdict, outcome = Verdict.REJECT, "error"
        finally:
            host.limit.leave(run)
            seconds = time.perf_counter() - started
            host.limit.words.end(before)
            if rehearsal is None:
                self.durations.observe(seconds)
                self.own_seconds += seconds - packet.trace.nested_s
            packet.trace.nested_s = outer_s + seconds
        self._came_to(outcome, packet, state, verdict)
        return verdict

    def _came_to(self, outcome: str, packet: Packet, state: Any, verdict: Verdict) -> None:
        """Count the outcome; where the packet is not the handler's, all that it did is undone."""
        rehearsal = packet.trace.rehearsal
        if rehearsal is not None:
            rehearsal.end(outcome, len(packet.trace.guards))
        else:
            self.verdicts[outcome] += 1
        packet.trace.asked.append((self.list, self.name, outcome))
        if verdict is Verdict.REJECT:
            packet.restore(state)
        packet.count_since(state, self.counters[outcome])

    def _offered(self, packet: Packet) -> Offer:
        code = getattr(self.receive, "__code__", None)
        source = place(code.co_filename, code.co_firstlineno) if code else ""
        return Offer(self.list, self.priority, self.name, self.owner, 0, len(packet.trace.guards), source)

    def passed_over(self, packet: Packet) -> bool:
        """Whether it is not asked: it failed too often, or is disabled."""
        if self.conduct.is_out and packet.trace.rehearsal is not None:
            packet.trace.rehearsal.pass_over(self._offered(packet), self.conduct.state)
        return self.conduct.is_out

    def _failed(self, error: BaseException, packet: Packet, host: Host) -> None:
        if packet.trace.rehearsal is not None:
            packet.trace.rehearsal.fail(fault(error))
            return
        self.last_error = fault(error)
        host.handler_failed(self, error)

    def offer_error(self, packet: Packet, args: tuple[Any, ...], host: Host) -> Verdict:
        """Ask the error handler about a packet that was sent, and quoted; REJECT where there is none.

        What it can not read, because the quotation is cut, is REJECT too, and so are an exception
        and a timeout.
        """
        if self.error is None or self.conduct.is_out:
            return Verdict.REJECT
        state = packet.checkpoint()
        started = time.perf_counter()
        run = host.limit.enter()
        try:
            verdict = self.error(packet, *args)
            if not isinstance(verdict, Verdict):
                raise TypeError(f"the error handler of {self.name} answered {verdict!r}, not a Verdict")
            outcome = verdict.value
        except (Truncated, HeaderBudget):
            verdict, outcome = Verdict.REJECT, "reject"
        except BaseException as error:
            self._failed(error, packet, host)
            verdict, outcome = Verdict.REJECT, "error"
        finally:
            host.limit.leave(run)
            seconds = time.perf_counter() - started
            self.durations.observe(seconds)
            self.own_seconds += seconds
        self.errors[outcome] += 1
        packet.restore(state)
        return verdict


#: What an offer can come to: the verdicts, an exception, an interruption.
OUTCOMES = (*(verdict.value for verdict in Verdict), "error", "timeout")


def fault(error: BaseException) -> str:
    """An exception in a line: what, and where; in the plugin, if the way there leads through one."""
    if isinstance(error, SyntaxError) and is_others(error.filename or "<"):  # it is of what was not run
        return f"{type(error).__name__}: {error.msg} ({_short(str(error.filename))}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    plugins = [frame for frame in frames if is_others(frame.filename)]
    where = (plugins or frames)[-1:]
    place = "".join(f" ({_short(at.filename)}:{at.lineno})" for at in where)
    what = str(error) if isinstance(error, HandlerTimeout) else f"{type(error).__name__}: {error}"
    return " ".join(f"{what}{place}".split())


def _short(file: str) -> str:
    """A file and its folder."""
    return "/".join(PurePath(file).parts[-2:])


def _counters(host: Host) -> dict[str, int]:
    return {outcome: host.new_counter() for outcome in OUTCOMES}


class HandlerList:
    """A named list of handlers in order of priority."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self._host = host
        self._handlers: list[Registered] = []

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._handlers)

    def add(
        self, receive: Receive, *, priority: int, name: str, owner: str, error: Receive | None = None
    ) -> Registered:
        """Register; RegistryError EBUSY where the priority is taken."""
        for other in self._handlers:
            if other.priority == priority:
                raise RegistryError(
                    errno.EBUSY,
                    f"{self.name}: priority {priority}, wanted by {name} of {owner}, "
                    f"is taken by {other.name} of {other.owner}",
                )
        registered = Registered(self.name, priority, name, owner, receive, error, _counters(self._host))
        # Another list each time: a walk that is under way ends with the handlers that it began with.
        self._handlers = sorted([*self._handlers, registered], key=lambda item: item.priority)
        self._host.undoable(partial(self._take_out, [registered]))
        self._host.handlers_changed(self.name)
        return registered

    def remove(self, registered: Registered, owner: str) -> None:
        """Take it out; RegistryError EINVAL for what is not there, or somebody else's."""
        if registered not in self._handlers or registered.owner != owner:
            raise RegistryError(
                errno.EINVAL,
                f"{self.name}: {registered.name} of {registered.owner} is not {owner}'s to remove",
            )
        self._take_out([registered])

    def remove_owner(self, owner: str) -> None:
        """Take out everything that `owner` registered."""
        self._take_out([item for item in self._handlers if item.owner == owner])

    def _take_out(self, handlers: Sequence[Registered]) -> None:
        """synchronize_net: the engine has no flow of theirs when this returns."""
        gone = [item for item in self._handlers if item in handlers]
        if not gone:
            return
        self._handlers = [item for item in self._handlers if item not in gone]
        self._host.handlers_changed(self.name)
        for item in gone:
            self._host.retire(item.counters.values())

    def deliver(self, packet: Packet, *args: Any) -> Verdict:
        """Ask the handlers in order; REJECT when all of them say so, or there are none."""
        packet.depends(("handlers", self.name))
        for registered in self._handlers:
            if registered.passed_over(packet):
                continue
            verdict = registered.offer(packet, args, self._host)
            if verdict is not Verdict.REJECT:
                return verdict
        return Verdict.REJECT

    def deliver_error(self, packet: Packet, *args: Any) -> Verdict:
        """Ask the error handlers in order, about a quoted packet; the first that knows it ends the walk."""
        for registered in self._handlers:
            verdict = registered.offer_error(packet, args, self._host)
            if verdict is not Verdict.REJECT:
                return verdict
        return Verdict.REJECT


class SlotTable:
    """A table with one handler a slot: IP protocols (inet_protos), GRE versions (gre_proto)."""

    def __init__(self, name: str, size: int, host: Host) -> None:
        self.name = name
        self.size = size
        self._host = host
        self._slots: dict[int, Registered] = {}

    def __iter__(self) -> Iterator[Registered]:
        return iter(item for _, item in sorted(self._slots.items()))

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, slot: int) -> bool:
        return slot in self._slots

    def add(
        self, receive: Receive, *, slot: int, name: str, owner: str, error: Receive | None = None
    ) -> Registered:
        """Register; RegistryError EINVAL for a slot out of range, EBUSY for a taken one."""
        if not 0 <= slot < self.size:
            raise RegistryError(errno.EINVAL, f"{self.name}: slot {slot} is not in 0 to {self.size - 1}")
        other = self._slots.get(slot)
        if other is not None:
            raise RegistryError(
                errno.EBUSY,
                f"{self.name}: slot {slot}, wanted by {name} of {owner}, "
                f"is taken by {other.name} of {other.owner}",
            )
        registered = Registered(self.name, slot, name, owner, receive, error, _counters(self._host))
        self._slots[slot] = registered
        self._host.undoable(partial(self._take_out, [registered]))
        self._host.handlers_changed(self.name)
        return registered

    def remove(self, registered: Registered, owner: str) -> None:
        """Take it out; RegistryError EBUSY for what is not registered there, or somebody else's."""
        if self._slots.get(registered.priority) is not registered or registered.owner != owner:
            raise RegistryError(
                errno.EBUSY, f"{self.name}: slot {registered.priority} is not {owner}'s to remove"
            )
        self._take_out([registered])

    def remove_owner(self, owner: str) -> None:
        """Take out everything that `owner` registered."""
        self._take_out([item for item in self._slots.values() if item.owner == owner])

    def _take_out(self, handlers: Sequence[Registered]) -> None:
        """synchronize_net: the engine has no flow of theirs when this returns."""
        gone = [item for item in self._slots.values() if item in handlers]
        if not gone:
            return
        self._slots = {slot: item for slot, item in self._slots.items() if item not in gone}
        self._host.handlers_changed(self.name)
        for item in gone:
            self._host.retire(item.counters.values())

    def deliver(self, slot: int, packet: Packet, *args: Any) -> Verdict:
        """Ask the slot's handler; REJECT when there is none."""
        packet.depends(("handlers", self.name))
        registered = self._slots.get(slot)
        if registered is None or registered.passed_over(packet):
            return Verdict.REJECT
        return registered.offer(packet, args, self._host)

    def hears_errors(self, slot: int) -> bool:
        """Whether the slot's handler wants to know of ICMP errors."""
        registered = self._slots.get(slot)
        return registered is not None and registered.error is not None

    def deliver_error(self, slot: int, packet: Packet, *args: Any) -> Verdict:
        """Ask the slot's error handler; REJECT when there is none."""
        registered = self._slots.get(slot)
        if registered is None:
            return Verdict.REJECT
        return registered.offer_error(packet, args, self._host)


class Registry:
    """All handler lists of a dataplane.  Lists come into being when first asked for."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.lists: dict[str, HandlerList] = {}
        self.tables: dict[str, SlotTable] = {}

    def list(self, name: str) -> HandlerList:
        """The priority list of that name (a plugin may have lists of its own)."""
        return self.lists.setdefault(name, HandlerList(name, self._host))

    def table(self, name: str, size: int | None = None) -> SlotTable:
        """The slot table of that name, with as many slots as anybody asked for (256); empty ones are free."""
        found = self.tables.setdefault(name, SlotTable(name, size or 256, self._host))
        found.size = max(found.size, size or 0)
        return found

    def __iter__(self) -> Iterator[Registered]:
        """Every registration, table by table, list by list, in the order of asking."""
        for table in self.tables.values():
            yield from table
        for handlers in self.lists.values():
            yield from handlers

    def remove_owner(self, owner: str) -> None:
        """Take out everything that `owner` registered anywhere."""
        for table in self.tables.values():
            table.remove_owner(owner)
        for handlers in self.lists.values():
            handlers.remove_owner(owner)
