"""A trace that comes to nothing: that of an imaginary packet (`vdp trace`).

A trace changes nothing by itself; what it asks for is done when it is put to use.  What the
dataplane keeps beside (verdicts and quarantine of handlers, ways asked for, log lines, numbers
taken from the engine when first needed) looks whether a `Rehearsal` is under way: then it is
left alone, or taken back at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vdp.registrations import Registrations


@dataclass(slots=True)
class Offer:
    """A handler that was offered the packet; `depth`: how many others were being asked then.

    guards: of the trace, those that were added while it was asked (also by handlers that it asked).
    """

    list: str
    priority: int
    name: str
    owner: str
    depth: int
    first_guard: int
    #: Its function, as "file:line".
    source: str
    last_guard: int = 0
    outcome: str = "undecided"
    #: What it raised, or why it was passed over.
    said: str = ""


@dataclass(slots=True)
class Rehearsal:
    """What is noted of it that a trace does not hold."""

    offers: list[Offer] = field(default_factory=list)
    #: Log lines that there would have been.
    said: list[str] = field(default_factory=list)
    #: What was taken from the engine or noted down on the way.
    registered: Registrations = field(default_factory=Registrations)
    _open: list[Offer] = field(default_factory=list)

    def turn_to(self, offers: list[Offer], said: list[str]) -> None:
        """Another trace begins, which is noted there."""
        self.offers, self.said = offers, said
        self._open.clear()

    def begin(self, offer: Offer) -> None:
        """A handler is asked."""
        offer.depth = len(self._open)
        self.offers.append(offer)
        self._open.append(offer)

    def end(self, outcome: str, guards: int) -> None:
        """The one that was asked last has answered; `guards`: how many the trace has now."""
        offer = self._open.pop()
        offer.outcome, offer.last_guard = outcome, guards

    def fail(self, fault: str) -> None:
        """The one that was asked last raised, or was interrupted."""
        self._open[-1].said = fault

    def pass_over(self, offer: Offer, why: str) -> None:
        """A handler is not asked."""
        offer.depth, offer.outcome, offer.said = len(self._open), "passed_over", why
        self.offers.append(offer)
