"""Fuzzers of what is Python: text from the operator and the control socket, packets, what the kernel says.

Each harness is an oracle and some inputs to begin with; an input is made of others by changing, doubling,
cutting and joining their words, and of `handlers` (tests/fuzz/hostile.py) by what a trace looked at.
Trust: local, but for `summary` and `handlers`, whose bytes are hostile.

    toml        the loader gives a configuration or sentences with places; the position map has exactly
                the keys of tomllib, and at each place the value
    control     a request is answered or refused with a ControlError; nothing else is raised
    expression  `vdp trace`'s packets: bytes, or a sentence with a column that is there
    filter-words  tcpdump's expressions: a program that the engine takes, or a sentence
    summary     any bytes make one line of printable text
    metadata    any file is a plugin's source with a version in it, or without
    netlink     a message is taken, passed over or refused as Unreadable (tests/fuzz/netlink_messages.py)
    handlers    the laws of tests/fuzz/hostile.py

`python -m tests.fuzz.python_harnesses NAME SECONDS` runs one; the input that broke it is left in build/found.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import math
import random
import re
import sys
import tempfile
import time
import tomllib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.config.test_positions import check as check_positions
from tests.fuzz import corpora
from tests.fuzz.builds import BUILD
from tests.fuzz.hostile import Hostile
from tests.fuzz.netlink_messages import Messages
from tests.fuzz.python_inputs import SEEDS, WORDS_OF
from vdp.capture.expression import ExpressionError as FilterError
from vdp.capture.expression import compile_expression
from vdp.capture.feed import capture_table
from vdp.capture.summary import summary
from vdp.config.load import load
from vdp.config.problem import ConfigError
from vdp.control.errors import ControlError
from vdp.control.methods import method_table
from vdp.control.server import _request
from vdp.control.stream import Stream
from vdp.control.view import DatapathView
from vdp.expressions.grammar import ExpressionError, parse
from vdp.expressions.layers import build as build_packet
from vdp.metadata import _api_version
from vdp.testing.dataplane import Dataplane

Oracle = Callable[[bytes], None]
#: No input may take longer: that would be a hang.
MOST_SECONDS = 0.1
MOST_BYTES = 2048
WORDS = re.compile(rb"[A-Za-z_]+|[0-9]+|\s+|.", re.DOTALL)


class Changes:
    """An endless source of inputs, the same for the same seed."""

    def __init__(
        self, seeds: Sequence[bytes], words: Sequence[bytes], seed: int = 1, most: int = 2048
    ) -> None:
        self._chance = random.Random(seed)
        self._inputs = list(seeds)
        self._words = [*words, *{word for each in seeds for word in WORDS.findall(each)}]

    def next(self) -> bytes:
        chance = self._chance
        words = WORDS.findall(chance.choice(self._inputs))
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            at = chance.randint(0, len(words))
            way = chance.randrange(7)
            if way <= 1:
                words[at : at + chance.randint(0, 2)] = [chance.choice(self._words)]
            elif way == 2:
                words[at:at] = words[at : at + chance.randint(1, 8)] * chance.choice((1, 1, 2, 9))
            elif way == 3:
                del words[at : at + chance.randint(1, 6)]
            elif way == 4 and words:
                words[at % len(words)] = bytes([chance.randrange(256)])
            elif way == 5:
                other = WORDS.findall(chance.choice(self._inputs))
                words[at:] = other[chance.randint(0, len(other)) :]
            else:
                words[at:at] = [b"%d" % chance.choice((0, 1, 255, 65535, 65536, 1 << 32, 1 << 64, 10**30))]
        made = b"".join(words)[:MOST_BYTES]
        if chance.random() < 0.02 and len(self._inputs) < 2000:
            self._inputs.append(made)
        return made


def _must(holds: bool) -> None:
    """Of a refusal: it is a sentence, and its place is there."""
    if not holds:
        raise ValueError("the refusal says nothing, or names a place that is not there")


def _toml(folder: Path) -> Oracle:
    path = folder / "vdp.toml"

    def oracle(data: bytes) -> None:
        path.write_bytes(data)
        text = data.decode(errors="ignore").replace("\r\n", "\n")
        try:
            tomllib.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            assert check_positions(text)
        try:
            load(path, lambda plugins: {})
        except ConfigError as error:
            lines = data.count(b"\n") + 2
            _must(bool(error.problems))
            _must(all(str(each) and 0 <= each.line <= lines for each in error.problems))

    return oracle


def _control(plane: Dataplane) -> Oracle:
    from tests.control.fake_view import FakeView

    view: DatapathView = FakeView()
    methods = {**method_table(view), **capture_table(plane.datapath)}

    def oracle(data: bytes) -> None:
        try:
            _, method, params = _request(data)
            handler = methods.get(method)
            if handler is None:
                return
            result = handler(params)
        except ControlError as error:
            json.dumps(error.as_json())
            return
        if isinstance(result, Stream) or inspect.iscoroutine(result):
            result.close()
        elif not inspect.isawaitable(result):
            json.dumps(result)

    return oracle


def _expression(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        made = build_packet(parse(text), lambda made, place: {}, [])
    except ExpressionError as error:
        _must(1 <= error.column <= len(text) + 1 and bool(error.text))
    else:
        assert isinstance(made, bytes)


def _filter(plane: Dataplane) -> Oracle:
    open_capture = capture_table(plane.datapath)["capture"]

    def oracle(data: bytes) -> None:
        try:
            frames, packets = compile_expression(data.decode(errors="replace"))
        except FilterError as error:
            _must(bool(str(error)))
            return
        feed = open_capture({"filters": [[list(one) for one in frames], [list(one) for one in packets]]})
        assert isinstance(feed, Stream)
        feed.close()

    return oracle


def _summary(data: bytes) -> None:
    for packet_type in (0, 1):
        line = summary(data, packet_type)
        assert line
        assert line.isprintable(), repr(line)


def _metadata(folder: Path) -> Oracle:
    path = folder / "vdp_plugin.py"

    def oracle(data: bytes) -> None:
        path.write_bytes(data)
        with warnings.catch_warnings():  # a source's own
            warnings.simplefilter("ignore")
            version = _api_version(str(path))
        assert version is None or isinstance(version, int)

    return oracle


class Text:
    """Inputs made of words, and an oracle that none may be too long for."""

    def __init__(self, name: str, seed: int = 1) -> None:
        self.name = name
        self.seeds = SEEDS[name]
        self._changes = Changes(self.seeds, WORDS_OF[name], seed)
        self._folder = tempfile.TemporaryDirectory()
        self._plane = Dataplane() if name in ("control", "filter-words") else None
        self.oracle = self._made()
        self.slowest = 0.0

    def _made(self) -> Oracle:
        folder = Path(self._folder.name)
        if self._plane is not None:
            return _control(self._plane) if self.name == "control" else _filter(self._plane)
        if self.name == "netlink":
            return Messages()
        made: dict[str, Oracle] = {"expression": _expression, "summary": _summary}
        if self.name in made:
            return made[self.name]
        return _toml(folder) if self.name == "toml" else _metadata(folder)

    def next(self) -> bytes:
        return self._changes.next()

    def check(self, data: bytes) -> None:
        begin = time.process_time()
        self.oracle(data)
        took = time.process_time() - begin
        self.slowest = max(self.slowest, took)
        if took > MOST_SECONDS:
            begin = time.process_time()
            self.oracle(data)  # others use the machine, too: once more
            assert time.process_time() - begin < MOST_SECONDS, f"{took:.2f} s"

    def replay(self, data: bytes) -> None:
        self.check(data)

    def failing(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        if self._plane is not None:
            self._plane.close()
        self._folder.cleanup()


NAMES = (*SEEDS, "handlers")


class Harness:
    """One of NAMES, ready to run."""

    def __init__(self, name: str, seed: int = 1) -> None:
        self.name = name
        self.source: Text | Hostile = Hostile(seed) if name == "handlers" else Text(name, seed)
        self._last = b""

    @property
    def slowest(self) -> float:
        """Seconds of processor time that the most laborious input took."""
        return self.source.slowest

    @property
    def failing(self) -> bytes:
        """The input that was reported, with what it needs before it."""
        return self.source.failing(self._last)

    def run(self, data: bytes, is_new: bool = False) -> None:
        """One input: one that was just made, or (as from a file) one that stands for itself."""
        self._last = data
        try:
            (self.source.check if is_new else self.source.replay)(data)
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{self.name}: {what}: {data!r}") from error

    def run_for(self, seconds: float = math.inf, runs: int = sys.maxsize) -> int:
        """So long, or so often; how often."""
        end, done = time.monotonic() + seconds, 0
        for data in (*self.source.seeds, *corpora.past_crashes(self.name)):
            self.run(data)
        while done < runs and time.monotonic() < end:
            self.run(self.source.next(), is_new=True)
            done += 1
        return done

    def close(self) -> None:
        self.source.close()


def main(arguments: Sequence[str]) -> None:
    name, seconds = arguments
    logging.disable()  # pyroute2 tells at length of each attribute that it can not read
    harness = Harness(name, seed=time.time_ns())
    try:
        print(f"{harness.run_for(float(seconds))} runs, slowest {harness.slowest * 1000:.2f} ms")
    except AssertionError:
        broken = harness.failing
        (BUILD / "found").mkdir(parents=True, exist_ok=True)
        (BUILD / "found" / f"{name}-{hashlib.sha1(broken).hexdigest()}").write_bytes(broken)
        raise
    finally:
        harness.close()


if __name__ == "__main__":
    main(sys.argv[1:])
