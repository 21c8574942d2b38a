"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import REPOSITORY

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]
HEAD = """
import pytest
from vdp.api import PacketType
from vdp.testing.builders import gre, ipv4, udp

A, B = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
OUTER = ipv4(B, A, gre(INNER, 0x0800), protocol=47)

@pytest.fixture
def ready(plane):
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    return plane
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a test file with the plugin, as if it had been found by its entry point."""
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'plugins'}")

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(HEAD + source)
        plugin = ("-p", "no:vdp", "-p", "vdp.testing.pytest_plugin", "-p", "no:cacheprovider")
        return pytester.runpytest_subprocess(*plugin, *arguments)

    return run


def test_a_plane_is_ready_and_sends(run: Run) -> None:
    result = run(
        "def test_it(ready):\n    ready.send('underlay', OUTER)\n    assert ready.received('lan') == [INNER]"
    )
    result.assert_outcomes(passed=1)


def test_both_engines_can_be_asked_for(run: Run) -> None:
    source = "def test_it(ready):\n    ready.send('underlay', OUTER)\n    print(type(ready.engine).__name__)"
    result = run(source, "--vdp-engine=both", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*NativeEngine*", "*ReferenceEngine*"])


def test_the_marker_and_the_ini_option_say_which_plugins(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nvdp_plugins = gre wccp\naddopts = --strict-markers")
    result = run(
        "def loaded(plane):\n    return "
        "[i.name for i in plane.datapath.plugins.infos.values() if i.state == 'loaded']\n"
        "def test_ini(plane):\n    assert sorted(loaded(plane)) == ['gre', 'wccp']\n"
        "@pytest.mark.vdp('gre', 'nvgre', settings={'gre': {'flags': 'strict'}})\n"
        "def test_marker(plane):\n    assert sorted(loaded(plane)) == ['gre', 'nvgre']\n"
        "    assert plane.datapath.gre.policy.value == 'strict'\n"
    )
    result.assert_outcomes(passed=2)


FAILING = """
def test_it(ready):
    def receive(packet, ip, info):
        raise ZeroDivisionError("oh")
    ready.datapath.registry.list("gre_cisco").add(receive, priority=1, name="bad", owner="bad")
    ready.send("underlay", OUTER)
    assert ready.received("lan") == [INNER]
"""


def test_a_handler_that_raised_fails_the_test_that_did_not_look(run: Run) -> None:
    result = run(FAILING)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*handler bad of bad raised 1 times: ZeroDivisionError: oh*"])
    run(FAILING + "    ready.faults = True\n").assert_outcomes(passed=1)


def test_golden_files_are_beside_the_test(run: Run, pytester: pytest.Pytester) -> None:
    source = "def test_it(ready, golden):\n    golden(ready, 'underlay', 'hello.pcap')\n"
    folder = pytester.mkdir("golden")
    from vdp.engine.interface import PacketType
    from vdp.testing import write_pcap
    from vdp.testing.builders import gre, ipv4, udp

    inner = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
    write_pcap(
        folder / "hello.pcap", [ipv4("192.0.2.2", "192.0.2.1", gre(inner), protocol=47)], PacketType.L3
    )
    run(source).assert_outcomes(failed=1)
    run(source, "--vdp-update-golden").assert_outcomes(passed=1)
    run(source).assert_outcomes(passed=1)
    assert (folder / "hello.fates").read_text().endswith(f"output lan {len(inner)}\n")


def test_time_stands_still(run: Run) -> None:
    result = run(
        "import time\ndef test_it(stopped_time):\n    before = time.monotonic()\n"
        "    assert time.monotonic() == before\n"
        "    stopped_time(5)\n    assert time.monotonic() == before + 5\n"
    )
    result.assert_outcomes(passed=1)
