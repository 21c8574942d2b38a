"""What the control thread logs of packets and plugins: in a line, and not as often as packets come."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Hashable

from vdp.time_limit import is_others

#: One log line a second and cause; the rest is counted.
INTERVAL_S = 1.0


def is_plugins(error: BaseException) -> bool:
    """Whether an exception comes from a plugin, or on a way that leads through one."""
    if isinstance(error, SyntaxError) and is_others(error.filename or "<"):
        return True
    return any(is_others(frame.filename) for frame in traceback.extract_tb(error.__traceback__))


def name_of(act: object) -> str:
    """What a function is called, and where it is from."""
    inner = getattr(act, "func", act)
    return f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', repr(inner))}".strip(".")


class Saying:
    """Writes to one logger."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[Hashable, float] = {}
        #: Lines that were not logged, because one for the same cause had been.
        self.suppressed = 0

    def say(self, level: int, cause: Hashable, text: str, *args: object, **options: object) -> None:
        """A log line, once a second and cause.

        Of a plugin's exception (`exc_info`) there is a traceback at log level debug only: the line
        says what and where.
        """
        now = time.monotonic()
        if now - self._said.get(cause, -INTERVAL_S) < INTERVAL_S:
            self.suppressed += 1
            return
        self._said[cause] = now
        error = options.get("exc_info")
        is_short = not self._log.isEnabledFor(logging.DEBUG)
        if is_short and isinstance(error, BaseException) and is_plugins(error):
            options["exc_info"] = None
        self._log.log(level, text, *args, **options)  # type: ignore[arg-type]
