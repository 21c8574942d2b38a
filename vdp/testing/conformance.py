"""`vdp plugin test`: what every plugin must hold to, tried on an installed one.

    for result in Conformance("shim", packets=100_000).run(): ...

A dataplane in memory is given the built-in plugins and the one under test, its samples
(vdp.testing.samples) and packets made of them (vdp.testing.fuzz).  No privilege is needed,
and the system is not touched.  The same seed tries the same packets.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import random
import statistics
import time
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from vdp import loader
from vdp.deprecation import VdpDeprecation
from vdp.engine.interface import Engine
from vdp.engine.native import NativeEngine
from vdp.engine.program import Drop, encode
from vdp.links.paths import PathPending
from vdp.loader import PluginError
from vdp.registry import Registered
from vdp.testing.books import check_books, present_ports
from vdp.testing.dataplane import Dataplane
from vdp.testing.fuzz import Fuzzer, constants_of
from vdp.testing.reference import ReferenceEngine
from vdp.testing.samples import NoSamples, Samples, guess, modules_of, samples_of
from vdp.testing.soundness import check_soundness, sample_of
from vdp.time_limit import is_others
from vdp.trace import place

State = Literal["ok", "weak", "failed"]
PACKETS = 100_000
#: Packets that are traced between two looks at the whole; of those, so many go through the engine.
BATCH, SENT = 256, 16
#: Packets that the soundness check is given at once, and in all; variants made of each one.
TOGETHER, SOUND, VARIANTS = 8, 256, 8
#: Failures that are told one by one.
MOST_TOLD = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One check.  weak: nothing is wrong, but too little was tried to say that it is right."""

    check: str
    state: State
    detail: str


class Failed(Exception):
    """A check that has failed; what is behind it can not be tried."""


class Conformance:
    """The checks of one plugin."""

    def __init__(
        self,
        plugin: str,
        *,
        packets: int = PACKETS,
        seed: int = 1,
        beside: Sequence[str] | None = None,
        samples: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """beside: plugins that are loaded before it, all built-in ones if not said; samples:
        MODULE:FUNCTION; settings: tables [plugin.NAME], as a configuration has them."""
        self.plugin = plugin
        self.packets = packets
        self.seed = seed
        self.beside = tuple(beside if beside is not None else built_in(plugin))
        self._named = samples
        self._tables = settings or {}
        self._settings: dict[str, BaseModel] = {}
        self._samples: Samples | None = None
        self._took: list[float] = []
        self._faults: list[str] = []
        self._deprecated: list[str] = []
        self._uncacheable = 0
        self._sound: dict[str, list[bytes]] = {}

    def run(self) -> Iterator[Result]:
        """Every check, one after the other, as soon as it is done; the first failure may be the last."""
        try:
            module = self._load()
            beside = ", ".join(self.beside) or "nothing"
            yield Result("loads", "ok", f"API version {module.vdp_api}, beside {beside}")
            yield self._imports(module)
            yield self._leaves_nothing()
            yield self._links_leave_nothing()
            yield from self._fuzz(module)
        except Failed as failure:
            check, _, detail = str(failure).partition(": ")
            yield Result(check, "failed", detail)

    # -- contract -------------------------------------------------------------------------

    def _load(self) -> types.ModuleType:
        plugins = loader.Plugins()
        try:
            plugins.load(self.beside, strict=True)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", VdpDeprecation)
                plugins.load([self.plugin], strict=True)
            self._deprecated = [str(each.message) for each in caught if each.category is VdpDeprecation]
            self._samples = samples_of(self.plugin, self._named)
        except PluginError as error:
            raise Failed(f"loads: {error}") from error
        except NoSamples as error:
            raise Failed(f"samples: {error}") from error
        for name, model in plugins.settings().items():
            if name in self._tables:
                try:
                    self._settings[name] = model.model_validate(self._tables[name])
                except ValidationError as error:
                    raise Failed(f"settings: [plugin.{name}]: {error}") from error
        module = plugins.infos[self.plugin].module
        assert module is not None
        return module

    def _imports(self, module: types.ModuleType) -> Result:
        """Of vdp, it imports nothing but vdp.api (its tests and samples: vdp.testing)."""
        wrong = []
        for each in modules_of(module):
            path = inspect.getsourcefile(each)
            if path is None:
                continue
            for line, name in imported(Path(path)):
                if name.split(".")[0] == "vdp" and not name.startswith(("vdp.api", "vdp.testing")):
                    wrong.append(f"{Path(path).name}:{line} {name}")
        if wrong:
            return Result("imports", "failed", f"not public: {', '.join(wrong[:MOST_TOLD])}")
        if self._deprecated:
            return Result("imports", "weak", "; ".join(self._deprecated[:MOST_TOLD]))
        return Result("imports", "ok", "of vdp, only what is public")

    def _leaves_nothing(self) -> Result:
        """What it registers is its own, and all of it can be taken back."""
        with self._plane(ReferenceEngine(), self.beside) as plane:
            datapath, plugins = plane.datapath, plane.datapath.plugins
            before = _registered(plane)
            plugins.load([self.plugin], strict=True)
            try:
                plugins.register_one(self.plugin, datapath)
            except PluginError as error:
                raise Failed(f"registers: {error}") from error
            mine = [each for each in datapath.registry if _key(each) not in before["handlers"]]
            stages = [each for each in datapath.pipeline.stages if each not in before["stages"]]
            names = [f"{each.list}/{each.priority} {each.name}" for each in mine]
            names += [f"stage {each.priority} {each.name}" for each in stages]
            names += [f"link kind {kind}" for kind in plugins.kinds_of[self.plugin]]
            owners = {each.owner for each in mine} | {each.owner for each in stages}
            foreign = sorted(owners - {self.plugin})
            if foreign:
                raise Failed(f"registers: as {', '.join(foreign)}: owner must be {self.plugin!r}")
            plugins.start_one(self.plugin, datapath)
            plugins.call_one(self.plugin, "vdp_stop", datapath=datapath)
            plugins.withdraw(self.plugin, datapath)
            after = _registered(plane)
        left = [name for name in before if before[name] != after[name]]
        if left:
            return Result("registers", "failed", f"unloaded, it leaves {', '.join(left)} behind")
        return Result("registers", "ok", ", ".join(names) or "nothing but hooks")

    def _links_leave_nothing(self) -> Result:
        """Links and ports of the samples, made and taken away again, leave the engine as it was."""
        with self._plane(ReferenceEngine()) as plane:
            left: list[dict[str, Any]] = []
            for _ in range(2):  # what is made once for all (identifications, ways) is there the second time
                self._arrange(plane)
                made = len(plane.datapath.links)
                for name in list(plane.datapath.links):
                    plane.remove_link(name)
                for name in list(plane.datapath.ports):
                    plane.datapath.remove_port(name)
                left.append(_registered(plane))
        lost = [name for name in left[0] if left[0][name] != left[1][name]]
        if lost:
            return Result("links", "failed", f"once removed, they leave {', '.join(lost)} behind")
        return Result("links", "ok", f"{made} made and removed again" if made else "it has none")

    # -- packets --------------------------------------------------------------------------

    def _fuzz(self, module: types.ModuleType) -> Iterator[Result]:
        with self._plane(NativeEngine()) as plane:
            self._listen(plane)
            seeds = self._arrange(plane)
            numbers = set().union(*map(constants_of, modules_of(module)))
            fuzzer = Fuzzer(seeds, numbers, self.seed) if seeds else None
            if fuzzer is None:
                yield Result("packets", "weak", "there are no samples to begin with: give some")
                return
            for member, data in seeds:
                plane.send(member, data)  # ways that have to be asked for are known then
            self._faults.clear()  # what fails will be traced again, and its packet named
            todo = [*seeds, *(fuzzer.packet() for _ in range(max(0, min(self.packets, BATCH) - len(seeds))))]
            done = 0
            while todo and len(self._faults) < MOST_TOLD:
                news = asyncio.run(self._trace(plane, fuzzer, todo))
                for member, data in {*news[:SENT], *todo[:SENT]}:
                    plane.send(member, data)
                done += len(todo)
                plane.datapath.slowpath.flush()
                plane.pass_time(1)
                todo = [fuzzer.packet() for _ in range(min(BATCH, self.packets - done))]
            yield self._packets_result(plane, done, fuzzer.news)
            yield self._reached(plane)
            yield self._soundness(plane)
            yield self._time()

    async def _trace(
        self, plane: Dataplane, fuzzer: Fuzzer, packets: Iterable[tuple[str, bytes]]
    ) -> list[tuple[str, bytes]]:
        """Trace each one, and learn from it; those that were news."""
        news = []
        datapath = plane.datapath
        failure = datapath.drops.code("handler_error")
        mine = {each.name for each in datapath.registry if each.owner == self.plugin}
        for member, data in packets:
            sample = sample_of(datapath, member, data)
            told = len(self._faults)
            started = time.perf_counter()
            try:
                trace, program = datapath.trace(sample.in_port, data, len(data), sample.meta)
            except PathPending:
                continue
            finally:
                self._took.append(time.perf_counter() - started)
            if len(self._faults) > told:
                self._faults[-1] += f"\n  packet {data.hex()} at {member}"
            elif isinstance(program[-1], Drop) and program[-1].reason == failure:
                self._faults.append(f"dropped as handler_error: packet {data.hex()} at {member}")
            self._uncacheable += not trace.cacheable
            is_near = not mine.isdisjoint(name for _, name, _ in trace.asked)
            if fuzzer.learn(member, data, trace, [action.name for action in program], is_near):
                news.append((member, data))
                kept = self._sound.setdefault(member, [])
                if len(kept) < SOUND and (is_near or not mine):
                    kept.append(data)
                try:
                    encode(program)
                except (TypeError, ValueError) as error:
                    self._faults.append(f"no program: {error}: packet {data.hex()} at {member}")
        return news

    def _packets_result(self, plane: Dataplane, done: int, news: int) -> Result:
        try:
            check_books(plane.engine)
        except AssertionError as error:
            self._faults.append(str(error))
        if self._faults:
            return Result("packets", "failed", "\n".join(self._faults[:MOST_TOLD]))
        detail = f"{done} without an exception, {news} of them news"
        if self._uncacheable:
            detail += f"; {self._uncacheable / len(self._took):.0%} uncacheable"
        return Result("packets", "ok", detail)

    def _reached(self, plane: Dataplane) -> Result:
        """Whether its handlers were asked, and ever said yes."""
        mine = [each for each in plane.datapath.registry if each.owner == self.plugin]
        never = [each.name for each in mine if not each.verdicts]
        if never:
            return Result("handlers", "failed", f"nothing reached {', '.join(never)}: give samples that do")
        shy = [each.name for each in mine if not each.verdicts["received"] + each.verdicts["drop"]]
        if shy:
            return Result("handlers", "weak", f"{', '.join(shy)} took no packet: give samples for it")
        total: Counter[str] = sum((each.verdicts for each in mine), Counter())
        words = ", ".join(f"{total[name]} {name}" for name in ("received", "drop", "reject"))
        return Result("handlers", "ok", words if mine else "it has none")

    def _soundness(self, plane: Dataplane) -> Result:
        chance = random.Random(self.seed)
        checked = 0
        try:
            for member, packets in self._sound.items():
                for at in range(0, len(packets), TOGETHER):
                    some = packets[at : at + TOGETHER]
                    check_soundness(plane.datapath, member, *some, variants=VARIANTS, chance=chance)
                    checked += len(some)
        except AssertionError as error:
            return Result("soundness", "failed", str(error))
        return Result("soundness", "ok", f"{checked} sorts of packets, {VARIANTS} variants each")

    def _time(self) -> Result:
        took = sorted(seconds * 1e6 for seconds in self._took)
        at = {share: took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.99)}
        return Result(
            "time",
            "ok",
            f"{statistics.fmean(took):.0f} us an upcall; half {at[0.5]:.0f}, 99 % {at[0.99]:.0f}, "
            f"the slowest {took[-1]:.0f}",
        )

    # -- arranging ------------------------------------------------------------------------

    def _plane(self, engine: Engine, plugins: Sequence[str] | None = None) -> Dataplane:
        try:
            names = (*self.beside, self.plugin) if plugins is None else plugins
            return Dataplane(engine, names, settings=self._settings)
        except PluginError as error:
            raise Failed(f"registers: {error}") from error

    def _arrange(self, plane: Dataplane) -> list[tuple[str, bytes]]:
        """The samples' ports and links; their packets."""
        handlers = [each for each in plane.datapath.registry if each.owner == self.plugin]
        try:
            if self._samples is not None:
                return list(self._samples(plane))
            return list(guess(plane, plane.datapath.plugins.kinds_of.get(self.plugin, ()), handlers))
        except NoSamples as error:
            raise Failed(f"samples: {error}") from error
        except Exception as error:
            raise Failed(f"samples: {type(error).__name__}: {error}") from error

    def _listen(self, plane: Dataplane) -> None:
        """Note every failure, with the line that it comes from; nobody is put into quarantine for it."""

        def note(error: BaseException) -> None:
            frames = traceback.extract_tb(error.__traceback__)
            last = ([frame for frame in frames if is_others(frame.filename)] or frames)[-1]
            where = place(last.filename, last.lineno or 0)
            self._faults.append(f"{where}: {type(error).__name__}: {error}")

        def say(level: int, cause: object, text: str, *args: object, **options: object) -> None:
            error = options.get("exc_info")
            if isinstance(error, BaseException):
                note(error)

        def failed(registered: Registered, error: BaseException) -> None:
            note(error)

        plane.datapath.say = say  # type: ignore[method-assign]
        plane.datapath.handler_failed = failed  # type: ignore[method-assign]


def built_in(but: str = "") -> list[str]:
    """The plugins of vdp's own distribution, less one."""
    return sorted(
        name for name, point in loader.installed().items()
        if name != but and point.dist is not None and point.dist.name == "vdp"
    )  # fmt: skip


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a source file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _key(handler: Registered) -> tuple[str, int, str, str]:
    return handler.list, handler.priority, handler.name, handler.owner


def _registered(plane: Dataplane) -> dict[str, Any]:
    """What plugins and links may have left in a dataplane on the reference engine."""
    datapath, engine = plane.datapath, plane.engine
    assert isinstance(engine, ReferenceEngine)
    return {
        "handlers": [_key(each) for each in datapath.registry],
        "stages": list(datapath.pipeline.stages),
        "chores": len(datapath._chores),
        "cookies": len(datapath.cookies),
        "commands": [(each.plugin, each.word) for each in datapath.commands],
        "engine counters": set(engine.counters),
        "engine states": set(engine.states),
        "ports": len(present_ports(engine)),
        "links": list(datapath.links),
    }
