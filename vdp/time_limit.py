"""A soft limit for what plugins run on the control thread: who takes too long is interrupted.

    enter ─► the plugin's code ─► leave          the control thread (main thread)
               ▲ HandlerTimeout
               └── SIGURG, every half limit ─── the watching thread; parked while nothing runs

The limit is of processor time, so that a busy machine is nobody's fault, or ten times as
long by the clock, for who sleeps or waits.  Signals make it work in a system call too;
what no signal gets at is C code that neither returns nor looks for signals.  SIGURG,
as in Go's runtime: nobody else uses it, and by default it does nothing.

An interruption comes between two bytecodes, so never where it would leave something of
vdp's or asyncio's half done: there it is put off, by a millisecond at a time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

from vdp.last_words import LastWords

SIGNAL = signal.SIGURG
#: Who waits, without work for the processor, may do so for this many limits.
WAIT_LIMITS = 10
#: A whole trace, of many handlers, may take this many limits; then nobody in particular is blamed.
TRACE_LIMITS = 10
#: Ticks of the watching thread in a limit; and how soon it comes again where it is inopportune.
TICKS = 2
AGAIN_S = 0.001
#: After so many limits it is opportune everywhere.
PATIENCE_LIMITS = 20

#: Where vdp's own files are.
PACKAGE = os.path.dirname(__file__) + os.sep
#: Files of vdp that change a trace only, which is thrown away.
_TRACING = tuple(
    PACKAGE + name for name in ("packet.py", "trace.py", "header.py", "verdict.py", "protocols", "testing")
)
_LIBRARY = os.path.dirname(os.__file__) + os.sep
#: What of Python's library keeps a state that others rest on.
_SHARED = tuple(
    _LIBRARY + name
    for name in ("asyncio", "logging", "threading.py", "selectors.py", "importlib", "weakref.py")
)


def is_others(file: str) -> bool:
    """Whether a file of code is neither vdp's nor Python's, so a plugin's or its libraries'."""
    if file.startswith((PACKAGE, "<")):
        return False
    return not file.startswith(_LIBRARY) or "-packages" in file


class HandlerTimeout(BaseException):
    """Raised in a run that took too long.  No Exception: `except Exception` lets it pass."""

    def __init__(self, run: Run, sentence: str) -> None:
        super().__init__(sentence)
        self.run = run


class Run:
    """Something of a plugin that runs, from `enter` to `leave` (or for a block), within others."""

    __slots__ = ("_limit", "entered")

    def __init__(self, limit: TimeLimit, entered: FrameType) -> None:
        self._limit = limit
        #: The frame that an interruption is caught in.
        self.entered: FrameType | None = entered

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self._limit.leave(self)


class TimeLimit:
    """The limit of one dataplane.  Not in force before `start`, nor with 0 seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        #: Which handler runs, for the process after this one.
        self.words = LastWords()
        self._runs: list[Run] = []
        self._begun = 0
        self._watcher: threading.Thread | None = None
        self._is_parked = False
        self._wake, self._end = threading.Event(), threading.Event()
        self._delay_s = 0.0
        #: Runs that a tick has met: the innermost and the outermost, with processor time and time then.
        self._met: tuple[Run, float, float] | None = None
        self._met_first: tuple[Run, float] | None = None

    # -- of the control thread ------------------------------------------------------------

    def start(self) -> None:
        """Watch what the calling thread runs: the main thread, as only that can be interrupted."""
        if self.seconds <= 0 or self._watcher or threading.current_thread() is not threading.main_thread():
            return
        signal.signal(SIGNAL, self._tick)
        self._end.clear()
        self._watcher = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="vdp-time-limit", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """Watch no longer."""
        if self._watcher is None:
            return
        self._end.set()
        self._wake.set()
        self._watcher.join()
        self._watcher = None
        signal.signal(SIGNAL, signal.SIG_DFL)

    def enter(self) -> Run:
        """Something begins to run; the caller catches the interruption."""
        run = Run(self, sys._getframe(1))
        if not self._runs:
            self._begun += 1
        self._runs.append(run)
        if self._is_parked:
            self._wake.set()
        return run

    def leave(self, run: Run) -> None:
        """It has ended, and what runs within it has, too."""
        del self._runs[self._runs.index(run) :]
        run.entered = None

    # -- of the signal, on the control thread too -------------------------------------------

    def _tick(self, number: int, frame: FrameType | None) -> None:
        if not self._runs:
            return
        processor, now = time.thread_time(), time.monotonic()
        first, innermost = self._runs[0], self._runs[-1]
        if self._met_first is None or self._met_first[0] is not first:
            self._met_first = first, processor
        if self._met is None or self._met[0] is not innermost:
            self._met = innermost, processor, now
        used, passed = processor - self._met[1], now - self._met[2]
        altogether = processor - self._met_first[1]
        if used >= self.seconds:
            run, sentence = innermost, f"it ran for more than {self.seconds * 1000:g} ms"
        elif passed >= self.seconds * WAIT_LIMITS:
            run, sentence = innermost, f"it waited for more than {self.seconds * WAIT_LIMITS * 1000:g} ms"
        elif altogether >= self.seconds * TRACE_LIMITS:
            run, sentence = first, f"all ran for more than {self.seconds * TRACE_LIMITS * 1000:g} ms"
        else:
            return
        if passed < self.seconds * PATIENCE_LIMITS and not self._is_opportune(frame, innermost):
            self._delay_s = AGAIN_S
            return
        self._met = self._met_first = None
        raise HandlerTimeout(run, sentence)

    @staticmethod
    def _is_opportune(frame: FrameType | None, run: Run) -> bool:
        """Whether all that was called within the run may be left where it is."""
        if frame is run.entered:
            return False
        while frame is not None and frame is not run.entered:
            file = frame.f_code.co_filename
            if file.startswith(_SHARED) or (file.startswith(PACKAGE) and not file.startswith(_TRACING)):
                return False
            frame = frame.f_back
        return frame is not None

    # -- of the watching thread ---------------------------------------------------------------

    def _watch(self, thread: int) -> None:
        begun = -1
        while not self._end.is_set():
            if self._runs:
                signal.pthread_kill(thread, SIGNAL)
            elif begun == self._begun:
                self._park()
            begun = self._begun
            delay, self._delay_s = self._delay_s or self.seconds / TICKS, 0.0
            self._end.wait(delay)

    def _park(self) -> None:
        """Wait until something runs.  `enter` looks at `_is_parked` after it has changed `_runs`."""
        self._wake.clear()
        self._is_parked = True
        if not self._runs and not self._end.is_set():
            self._wake.wait()
        self._is_parked = False
