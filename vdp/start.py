"""A start of vdp as its service manager sees it: what it is told, what is kept, how starts before ended."""

from __future__ import annotations

import logging
import signal

from vdp.last_words import LastWords
from vdp.service import FdStore, Notify

log = logging.getLogger(__name__)

STOPS = (signal.SIGTERM, signal.SIGINT)


class Start:
    """One start of vdp.  It counts as failed until `words.ready` says that it is not."""

    def __init__(self) -> None:
        self.notify = Notify.from_environment()
        self.store = FdStore.from_environment(self.notify)
        self.words = LastWords(self.store)

    def may_begin(self) -> bool:
        """Not too soon after starts that failed; false: told to stop meanwhile."""
        words = self.words
        if not words.failed_starts:
            return True
        log.warning(
            "starts that failed in a row: %d, see above; the next begins in %.1f s",
            words.failed_starts, words.patience_s,
        )  # fmt: skip
        self.notify.tell(f"STATUS=waits {words.patience_s:.1f} s, failed starts: {words.failed_starts}")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            is_told_to_stop = signal.sigtimedwait(STOPS, words.patience_s) is not None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if is_told_to_stop:
            words.ready()
        return not is_told_to_stop
