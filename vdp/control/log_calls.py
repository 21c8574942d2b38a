"""The method `log.set`: how much one module of the running daemon logs, for a time.

`{"module": "vdp.links", "level": "debug", "for_s": 60}` sets it for that logger and those below it; after
`for_s` seconds it is as it was.  Without `for_s` it stays until the daemon ends, without `level` it is
taken back at once.  The answer lists all that are set.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypedDict

from vdp.control.errors import BAD_REQUEST, NOT_FOUND, ControlError
from vdp.control.server import Method

LEVELS = ("debug", "info", "warning", "error")
LONGEST_S = 86_400

log = logging.getLogger(__name__)


class LogRow(TypedDict):
    module: str
    level: str
    left_s: float | None  # until it is taken back; null: it stays


class LogLevels:
    """The levels that were set by command, and when each is taken back."""

    def __init__(self) -> None:
        self._set: dict[str, tuple[int, asyncio.TimerHandle | None]] = {}  # the level before, the timer

    def set(self, module: str, level: str | None, for_s: float | None) -> None:
        """On the event loop."""
        self.revert(module)
        if level is None:
            return
        logger, loop = logging.getLogger(module), asyncio.get_running_loop()
        timer = None if for_s is None else loop.call_later(for_s, self._expire, module)
        self._set[module] = logger.level, timer
        logger.setLevel(level.upper())

    def revert(self, module: str) -> None:
        if module not in self._set:
            return
        before, timer = self._set.pop(module)
        if timer is not None:
            timer.cancel()
        logging.getLogger(module).setLevel(before)

    def _expire(self, module: str) -> None:
        self.revert(module)
        log.info("log level of %s: as before", module)

    def rows(self) -> list[LogRow]:
        now = asyncio.get_running_loop().time()
        return [
            {
                "module": module,
                "level": logging.getLevelName(logging.getLogger(module).level).lower(),
                "left_s": None if timer is None else round(max(0.0, timer.when() - now), 1),
            }
            for module, (_, timer) in sorted(self._set.items())
        ]


def modules() -> set[str]:
    """What may be named: loggers that there are, and what stands above them."""
    every: set[str] = set()
    for name in logging.root.manager.loggerDict:
        parts = name.split(".")
        every.update(".".join(parts[: count + 1]) for count in range(len(parts)))
    return every


def log_table() -> dict[str, Method]:
    """The method by name, as ControlServer takes it."""
    levels = LogLevels()

    async def method(params: dict[str, Any]) -> list[LogRow]:
        module, level, for_s = params.get("module"), params.get("level"), params.get("for_s")
        if params.keys() - {"module", "level", "for_s"} or not isinstance(module, str | None):
            raise ControlError(BAD_REQUEST, 'parameters are "module", "level" and "for_s"')
        if module is None:
            return levels.rows()
        if level is not None and level not in LEVELS:
            raise ControlError(BAD_REQUEST, f'"{level}" is no level', f"one of {', '.join(LEVELS)}")
        is_number = isinstance(for_s, int | float) and not isinstance(for_s, bool)
        if for_s is not None and not (is_number and 0 < for_s <= LONGEST_S):
            raise ControlError(BAD_REQUEST, f'"for_s" is a number of seconds, {LONGEST_S} at most')
        known = modules()
        if module not in known:
            from vdp.config.nearest import nearest_hint

            own = sorted(name for name in known if name.startswith("vdp"))
            hint = nearest_hint(module, own) or f"there is: {', '.join(own)}"
            raise ControlError(NOT_FOUND, f'no module "{module}" logs', hint)
        levels.set(module, level, for_s)
        return levels.rows()

    return {"log.set": method}
