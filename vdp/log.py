"""The daemon's log: one line an event on stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections import Counter
from pathlib import PurePath
from typing import TextIO


class CountingHandler(logging.StreamHandler[TextIO]):
    """Writes to stderr, and counts its lines by level."""

    def __init__(self, lines: Counter[str]) -> None:
        super().__init__(sys.stderr)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines["error" if record.levelno > logging.ERROR else record.levelname.lower()] += 1
        super().emit(record)


class TextFormatter(logging.Formatter):
    """`level: text`; service managers add the time."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()}: {printable(record.getMessage())}"
        if record.exc_info and record.levelno >= logging.ERROR:
            # Indented: no line of what an exception says can be taken for one of the log's.
            lines = self.formatException(record.exc_info).split("\n")
            text += "".join(f"\n  {printable(line)}" for line in lines)
        return text


class JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def printable(text: str) -> str:
    """Control characters escaped: names and packets must not move a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A Python warning as the log has it: what, and where."""
    return f"{message} ({'/'.join(PurePath(filename).parts[-2:])}:{lineno})"


def lines() -> Counter[str]:
    """The log's lines so far, by level; it counts on when the log is configured anew."""
    counted = [each.lines for each in logging.getLogger().handlers if isinstance(each, CountingHandler)]
    return counted[0] if counted else Counter()


def configure(level: str, style: str) -> None:
    """Send all loggers to stderr at that level, as "text" or "json", and Python's warnings too.

    Plugins' authors and operators hear of names that go (vdp.deprecation), once a line of source.
    """
    handler = CountingHandler(lines())
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("pyroute2").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    warnings.formatwarning = one_line
    warnings.filterwarnings("default", message=".* is deprecated since vdp ", category=DeprecationWarning)
