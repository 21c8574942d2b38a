"""The pytest plugin `vdp`: dataplanes as fixtures, closed and checked when a test is done.

    vdp_plugins = ["gre", "shim"]        # [tool.pytest.ini_options]: what every `plane` loads

    def test_it_passes(plane): ...       # a Dataplane with those, and nothing else yet

    @pytest.mark.vdp("gre", "shim", settings={"shim": {"strict": True}})
    def test_another(plane): ...         # with these instead

At the end of each test the books of every dataplane balance (no packet vanished), and no
handler has raised: an exception counts as REJECT, which is easily overlooked.  A test that is
about one says `plane.faults = True`.  Registered as an entry point, so there is nothing to
import; everything of vdp is imported when a fixture is first used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vdp.testing.dataplane import Dataplane
    from vdp.testing.golden import Replay

MakePlane = Callable[..., "Dataplane"]
Golden = Callable[["Dataplane", str, str], "Replay"]
DEFAULT_PLUGINS = ("gre", "gretap")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vdp")
    group.addoption(
        "--vdp-engine",
        choices=("native", "reference", "both"),
        default="native",
        help="the engine of dataplanes: the C engine, its readable twin in Python, or one after the other",
    )
    group.addoption(
        "--vdp-update-golden", action="store_true", help="write the golden files instead of comparing"
    )
    parser.addini("vdp_plugins", "plugins of the fixture `plane`", "args", list(DEFAULT_PLUGINS))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "vdp(*plugins, settings=…): plugins of this test's dataplane, and tables [plugin.NAME] for them",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vdp_engine" in metafunc.fixturenames and metafunc.config.getoption("--vdp-engine") == "both":
        metafunc.parametrize("vdp_engine", ("native", "reference"), indirect=True)


@pytest.fixture
def vdp_engine(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Makes the engine that the test runs on: `--vdp-engine`."""
    from vdp.testing import NativeEngine, ReferenceEngine

    chosen = getattr(request, "param", None) or request.config.getoption("--vdp-engine")
    return ReferenceEngine if chosen == "reference" else NativeEngine


@pytest.fixture
def make_plane(vdp_engine: Callable[[], Any]) -> Iterator[MakePlane]:
    """Dataplanes: `make_plane("gre", "shim", settings={"shim": {…}}, paths=…)`.

    settings: tables [plugin.NAME], as a configuration has them; they are checked as those are.
    """
    from vdp.testing import Dataplane, check_books, check_faults

    made: list[Dataplane] = []

    def make(*plugins: str, settings: Mapping[str, Any] | None = None, **more: Any) -> Dataplane:
        made.append(Dataplane(vdp_engine(), plugins or DEFAULT_PLUGINS, settings=settings, **more))
        return made[-1]

    yield make
    try:
        for plane in made:
            check_books(plane.engine)
            if not plane.faults:
                check_faults(plane.datapath)
    finally:
        for plane in made:
            plane.close()


@pytest.fixture
def plane(request: pytest.FixtureRequest, make_plane: MakePlane) -> Dataplane:
    """A dataplane in memory, with the plugins of `@pytest.mark.vdp(…)`, or of the ini option vdp_plugins."""
    marker = request.node.get_closest_marker("vdp")
    plugins: Sequence[str] = marker.args if marker and marker.args else request.config.getini("vdp_plugins")
    return make_plane(*plugins, **(marker.kwargs if marker else {}))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(plane, "underlay", "hello.pcap")`: check_golden on golden/hello.pcap beside the test's file."""
    from vdp.testing import check_golden

    folder = Path(request.path).parent / "golden"
    update = request.config.getoption("--vdp-update-golden")

    def check(plane: Dataplane, port: str, capture: str) -> Replay:
        return check_golden(plane, port, folder / capture, update=update)

    return check


@pytest.fixture
def stopped_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """time.monotonic stands still, as the dataplane's own clock does; the function that one gets moves it."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move
