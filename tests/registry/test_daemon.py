"""The daemon's start: whichever step fails, what was done before is undone, last first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import native_engine
from vdp import daemon as module
from vdp.config import load
from vdp.control.server import ControlServer
from vdp.daemon import Daemon
from vdp.datapath import Datapath
from vdp.links.link import LinkError
from vdp.loader import Plugins
from vdp.metrics.server import MetricsServer
from vdp.netlink import System
from vdp.ports import PortError

CONFIG = """
[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"

[[port]]
name = "lan"
type = "memory"
packet_type = "l3"

[[link]]
name = "gre1"
kind = "gre"
underlay = "underlay"
local = "192.0.2.1"
remote = "192.0.2.2"

[[link]]
name = "gre2"
kind = "gre"
underlay = "underlay"
local = "192.0.2.1"
remote = "192.0.2.2"
key = 2

[[connect]]
members = ["lan", "gre1"]

[plugins]
load = ["gre"]
strict = true

[metrics]
listen = "127.0.0.1:0"

[control]
socket = "SOCKET"
"""
#: What is done, in order, and what undoes it.
STEPS = [
    ("plugins", None),
    ("port underlay", "close port underlay"),
    ("port lan", "close port lan"),
    ("link gre1", "remove link gre1"),
    ("link gre2", "remove link gre2"),
    ("engine", "stop engine"),
    ("events", None),
    ("control", "stop control"),
    ("metrics", "stop metrics"),
    ("hooks", "stop hooks"),
]
NAMES = [name for name, _ in STEPS]


class Failed(OSError):
    """What a step raises."""


class Story:
    """What was done and undone; the step `fails` does not succeed."""

    def __init__(self, fails: str) -> None:
        self._fails = fails
        self.lines: list[str] = []

    def do(self, line: str) -> None:
        if line == self._fails:
            raise Failed(line)
        self.lines.append(line)

    def undone(self, line: str) -> None:
        self.lines.append(line)


def wrap(
    patch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable[..., None], is_async: bool
) -> None:
    """Have `before` called with the arguments of a method, and the method then."""
    method = getattr(owner, name)

    async def later(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        return await method(self, *args, **kwargs)

    def now(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        return method(self, *args, **kwargs)

    patch.setattr(owner, name, later if is_async else now)


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Story]]:
    """Watches every step of a daemon, and fails one."""
    native_engine()

    def make(fails: str) -> Story:
        story = Story(fails)

        def call(self: Plugins, hook: str, **arguments: object) -> None:
            if hook == "vdp_start":
                story.do("hooks")
            else:
                story.undone("stop hooks")

        wrap(monkeypatch, Plugins, "register", lambda *a, **k: story.do("plugins"), False)
        wrap(monkeypatch, Datapath, "add_port", lambda config, **k: story.do(f"port {config.name}"), False)
        wrap(monkeypatch, Datapath, "remove_port", lambda name: story.undone(f"close port {name}"), False)
        wrap(monkeypatch, Datapath, "add_link", lambda name, *a, **k: story.do(f"link {name}"), True)
        wrap(
            monkeypatch, Datapath, "remove_link", lambda name, **k: story.undone(f"remove link {name}"), True
        )
        wrap(monkeypatch, module.NativeEngine, "start", lambda: story.do("engine"), False)
        wrap(monkeypatch, module.NativeEngine, "stop", lambda: story.undone("stop engine"), False)
        wrap(monkeypatch, module.NativeEngine, "close", lambda: story.undone("close engine"), False)
        wrap(monkeypatch, ControlServer, "start", lambda: story.do("control"), True)
        wrap(monkeypatch, ControlServer, "stop", lambda: story.undone("stop control"), True)
        wrap(monkeypatch, MetricsServer, "start", lambda: story.do("metrics"), True)
        wrap(monkeypatch, MetricsServer, "stop", lambda: story.undone("stop metrics"), True)
        wrap(monkeypatch, System, "subscribe", lambda callback: story.do("events"), False)
        wrap(monkeypatch, System, "close", lambda: story.undone("close system"), True)
        monkeypatch.setattr(Plugins, "call", call)
        return story

    return make


def start(tmp_path: Path, story: Story) -> Daemon:
    """A daemon that is told to stop as soon as it is up."""
    path = tmp_path / "vdp.toml"
    path.write_text(CONFIG.replace("SOCKET", str(tmp_path / "vdp.sock")))
    plugins = Plugins()

    def kinds(section: Any) -> Any:
        plugins.load(section.load, strict=True)
        return plugins.kinds

    made = Daemon(load(path, kinds, plugins.settings), plugins)
    made._stopping.set()
    return made


@pytest.mark.conformance("A1", "A12")
@pytest.mark.parametrize("fails", NAMES)
def test_a_start_that_fails_is_undone_in_reverse_order(
    story: Callable[[str], Story], tmp_path: Path, fails: str
) -> None:
    told = story(fails)
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises((Failed, PortError, ExceptionGroup)) as caught:
        asyncio.run(start(tmp_path, told).run())
    error = caught.value.__cause__ if isinstance(caught.value, PortError) else caught.value
    assert isinstance(error, Failed) or error.subgroup(Failed)
    done = STEPS[: NAMES.index(fails)]
    undone = [undo for _, undo in reversed(done) if undo]
    if fails == "hooks":
        undone.insert(0, "stop hooks")  # what did start is told to stop
    assert told.lines == [name for name, _ in done] + [*undone, "close system", "close engine"]
    assert not (tmp_path / "vdp.sock").exists()
    assert len(os.listdir("/proc/self/fd")) == files


@pytest.mark.conformance("A1")
def test_a_start_that_succeeds_is_undone_the_same_way_at_the_end(
    story: Callable[[str], Story], tmp_path: Path
) -> None:
    told = story("")
    asyncio.run(start(tmp_path, told).run())
    undone = [undo for _, undo in reversed(STEPS) if undo]
    assert told.lines == [*NAMES, *undone, "close system", "close engine"]


@pytest.mark.conformance("A12")
def test_a_link_of_a_plugin_that_fails_is_refused_before_anything_is_opened(
    story: Callable[[str], Story], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = story("")
    made = start(tmp_path, told)
    monkeypatch.setattr(Plugins, "register", lambda self, datapath, strict: self.kinds.clear())
    with pytest.raises(LinkError, match="gre1: the plugin of link kind 'gre' failed to start"):
        asyncio.run(made.run())
    assert told.lines == ["close system", "close engine"]
