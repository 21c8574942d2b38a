"""What becomes of who fails: it is said, who fails repeatedly is passed over, a command judges.

Handlers, timers and upcalls alike: who is out, and for how long, the record says (vdp.quarantine).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from vdp.links.paths import PathPending
from vdp.quarantine import NS, Conduct
from vdp.registry import OWNER, Registered, fault
from vdp.time_limit import HandlerTimeout

if TYPE_CHECKING:
    from vdp.called import Called
    from vdp.datapath import Datapath

log = logging.getLogger(__name__)


class Discipline:
    """Over the handlers, timers and upcalls of one dataplane."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath

    def failed(self, registered: Registered, error: BaseException) -> None:
        """Say so, and put it out where that is too often.  No flow is traced in here: one is being traced."""
        what, end = "raised", "the packet goes on as if rejected"
        if isinstance(error, HandlerTimeout):
            what, end = "took too long", "the packet is dropped"
        self._datapath.say(
            logging.ERROR,
            ("handler", registered.owner, registered.name),
            "plugin %s: handler %s %s: %s; %s",
            registered.owner,
            registered.name,
            what,
            fault(error),
            end,
            exc_info=error,
        )
        conduct = registered.conduct
        if registered.owner != OWNER and conduct.fail(self._datapath.engine.clock()):
            self._datapath.invalidate(("handlers", registered.list))
            log.error(
                "plugin %s: handler %s is passed over for %g s: it failed repeatedly",
                registered.owner,
                registered.name,
                conduct.term_ns / NS,
            )

    def call(self, called: Called, *arguments: object) -> None:
        """Call a timer or upcall, unless it is out; a failure costs that one time only."""
        if called.conduct.is_out:
            return
        called.times += 1
        try:
            with self._datapath.limit.enter():
                called.act(*arguments)
        except PathPending:
            pass  # what it would have sent is not made: the way is being asked for
        except BaseException as error:  # sys.exit too ends no daemon
            self._call_failed(called, error)

    def _call_failed(self, called: Called, error: BaseException) -> None:
        called.failures += 1
        called.last_error = fault(error)
        article = "an" if called.kind == "upcall" else "a"
        self._datapath.say(
            logging.ERROR,
            (called.kind, called.owner, called.name),
            f"{article} {called.kind} failed: %s: %s",
            called.name,
            called.last_error,
            exc_info=error,
        )
        if called.owner != OWNER and called.conduct.fail(self._datapath.engine.clock()):
            log.error(
                "plugin %s: %s %s is not called for %g s: it failed repeatedly",
                called.owner,
                called.kind,
                called.name,
                called.conduct.term_ns / NS,
            )

    def end_quarantines(self) -> None:
        """Whose time is over is asked, or called, again."""
        now = self._datapath.engine.clock()
        for called in self._datapath.calls():
            if called.conduct.release(now):
                log.info("plugin %s: %s %s is called again", called.owner, called.kind, called.name)
        for registered in self._datapath.registry:
            if registered.conduct.release(now):
                log.info("plugin %s: handler %s is asked again", registered.owner, registered.name)
                self._datapath.handlers_changed(registered.list)

    def forgive(self, called: Called) -> None:
        """By command: it is called again at once, and nothing is held against it."""
        called.conduct.enable()
        log.info("plugin %s: %s %s: %s", called.owner, called.kind, called.name, called.conduct.state)

    def judge(self, registered: Registered, sentence: Callable[[Conduct], None]) -> None:
        """By command: Conduct.enable or Conduct.disable."""
        sentence(registered.conduct)
        log.info("plugin %s: handler %s: %s", registered.owner, registered.name, registered.conduct.state)
        self._datapath.handlers_changed(registered.list)
