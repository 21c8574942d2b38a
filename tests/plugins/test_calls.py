"""Timers and upcalls of plugins: counted, shown, and not called for a while where they fail repeatedly."""

from __future__ import annotations

import time
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.plane import L3, A, B, MakePlane, Plane
from tests.testing.conftest import Install, forget_modules, installed
from vdp.api import Packet
from vdp.cli.pages import PLUGIN_COLUMNS
from vdp.control import view
from vdp.control.changes import change_table
from vdp.flow_words import FlowRows
from vdp.inspector import Inspector
from vdp.links.paths import PathPending, Way
from vdp.loader import PluginError
from vdp.quarantine import MOST_FAILURES
from vdp.testing import Dataplane
from vdp.testing.builders import gre, ipv4, udp

__all__ = ["forget_modules", "installed"]

IN_GRE = ipv4(B, A, gre(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))), protocol=47)
HEAD = """
    from vdp.api import hookimpl

    vdp_api = 1
    count = [0]
"""
TIMER = (
    HEAD
    + """
    def tick():
        count[0] += 1
        if count[0] <= {fails}:
            raise ZeroDivisionError("again")

    @hookimpl
    def vdp_{hook}(datapath):
        datapath.every(1, tick)
"""
)


def inspector(plane: Plane | Dataplane) -> Inspector:
    return Inspector(plane.datapath, None)  # type: ignore[arg-type]


def row(plane: Dataplane, name: str = "bad") -> view.PluginRow:
    return next(row for row in inspector(plane).list_plugins() if row["name"] == name)


def call(plane: Dataplane) -> view.CalledRow:
    (only,) = row(plane)["calls"]
    return only


@pytest.mark.parametrize("hook", ["register", "start"])
def test_a_timer_that_fails_again_and_again_rests_and_is_called_again(
    installed: Install, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    with Dataplane(
        plugins=["gre", installed("bad", TIMER.format(fails=MOST_FAILURES + 1, hook=hook))]
    ) as plane:
        plane.start()

        def passes(seconds: int) -> tuple[int, int, str]:
            for _ in range(seconds):
                plane.pass_time(1)
            found = call(plane)
            return found["times"], found["failures"], found["state"]

        assert passes(MOST_FAILURES - 1) == (MOST_FAILURES - 1, MOST_FAILURES - 1, "asked")
        assert passes(1) == (MOST_FAILURES, MOST_FAILURES, "quarantine")
        assert "plugin bad: timer vdp_bad.tick is not called for 1 s: it failed repeatedly" in caplog.text
        shown = row(plane)
        assert shown["passed_over"] == ["timer vdp_bad.tick"]
        assert str(PLUGIN_COLUMNS["error"](shown)).startswith(  # type: ignore[arg-type]
            f"timer failed {MOST_FAILURES} times: ZeroDivisionError: again ("
        )
        # Once more, on probation, and it is out for twice as long: it misses one second in between.
        assert passes(1) == (MOST_FAILURES + 1, MOST_FAILURES + 1, "quarantine")
        assert passes(1) == (MOST_FAILURES + 1, MOST_FAILURES + 1, "quarantine")
        assert passes(1) == (MOST_FAILURES + 2, MOST_FAILURES + 1, "asked")
        assert row(plane)["passed_over"] == []


def test_a_command_has_it_called_again_at_once(installed: Install) -> None:
    name = installed("bad", TIMER.format(fails=MOST_FAILURES, hook="register"))
    with Dataplane(plugins=["gre", name]) as plane:
        for _ in range(MOST_FAILURES):
            plane.pass_time(1)
        assert call(plane)["state"] == "quarantine"
        enable: Any = change_table(plane.datapath, inspector(plane))["plugin.enable"]
        (answer,) = enable({"name": "bad"})
        assert answer["calls"][0]["state"] == "asked"


def test_one_that_hangs_counts_as_one_that_raises(make_plane: MakePlane) -> None:
    plane = make_plane(("gre",))
    plane.datapath.limit.seconds = 0.005
    plane.datapath.limit.start()
    try:
        plane.datapath.every(1, lambda: time.sleep(30))
        plane.pass_time(1)
    finally:
        plane.datapath.limit.stop()
    called = next(each for each in plane.datapath.calls() if each.failures)
    assert called.last_error.startswith("it waited for more than 50 ms (plugins/test_calls.py:")


def test_vdp_s_own_stay_and_waiting_for_a_way_or_leaving_is_no_end(make_plane: MakePlane) -> None:
    """Its probes must go on, whatever happens; sys.exit does not end the daemon."""
    plane = make_plane(("gre",))

    def leaves() -> None:
        raise SystemExit("of a library")

    def waits() -> None:
        raise PathPending(Way("underlay", IPv4Address(B), IPv4Address(A), 0))

    plane.datapath.every(1, leaves)
    plane.datapath.every(1, waits)
    for _ in range(MOST_FAILURES * 2):
        plane.pass_time(1)
    found = {each.name.rpartition(".")[2]: each for each in plane.datapath.calls() if each.kind == "timer"}
    assert (found["leaves"].failures, found["leaves"].conduct.state) == (MOST_FAILURES * 2, "asked")
    assert (found["waits"].times, found["waits"].failures) == (MOST_FAILURES * 2, 0)


UPCALL = (
    HEAD
    + """
    def hear(upcall):
        count[0] += 1
        raise ZeroDivisionError("again")

    @hookimpl
    def vdp_register(datapath):
        cookie = datapath.add_cookie(hear)

        def receive(packet, ip, info):
            packet.upcall(cookie)
            return packet.drop("policy_rule")

        datapath.registry.list("gre_cisco").add(receive, priority=1, name="bad_rcv", owner="bad")
"""
)


def test_an_upcall_that_fails_again_and_again_rests_and_its_packets_go_on(installed: Install) -> None:
    with Dataplane(plugins=["gre", installed("bad", UPCALL)]) as plane:
        plane.port("underlay", L3)
        plane.link("gre1", "gre", local=A, remote=B)
        for _ in range(MOST_FAILURES + 3):
            plane.send("underlay", IN_GRE)
        found = call(plane)
        assert (found["kind"], found["name"], found["state"]) == ("upcall", "vdp_bad.hear", "quarantine")
        assert (found["times"], found["failures"]) == (MOST_FAILURES, MOST_FAILURES)
        assert plane.drops("underlay") == {"policy_rule": MOST_FAILURES + 3}
        # The flow says whom it asks, and whose it is.
        (flow,) = FlowRows(plane.datapath).rows("", None)
        assert "upcall vdp_bad.hear" in [action["text"] for action in flow["actions"]]
        assert flow["plugins"] == ["bad", "vdp"]


def test_a_flow_that_a_link_only_puts_headers_on_is_its_plugins(make_plane: MakePlane) -> None:
    plane = make_plane(("gre",))
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)))
    assert len(plane.received("underlay")) == 1
    (flow,) = FlowRows(plane.datapath).rows("", None)
    assert (flow["in_port"], flow["plugins"]) == ("lan", ["gre"])


def test_a_packet_that_is_dropped_for_a_fault_is_said_to_come_by_its_port(
    make_plane: MakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    plane = make_plane(("gre",))
    plane.faults = True
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.connect("lan", "underlay")

    def fail(packet: Packet, egress: Any) -> None:
        raise ZeroDivisionError("in a stage")

    plane.datapath.pipeline.add(fail, priority=5, name="broken", owner="test")
    for port in ("lan", "underlay"):
        plane.send(port, ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)))
    lines = [line for line in caplog.messages if line.startswith("a packet was dropped: ZeroDivisionError")]
    assert [line.rpartition("; ")[2] for line in lines] == ["it came in by lan", "it came in by underlay"]


def test_a_plugin_s_syntax_error_is_told_with_package_file_and_line(installed: Install) -> None:
    with pytest.raises(PluginError, match=r"SyntaxError: .* \(\w[\w.-]*/vdp_bad\.py:2\)$") as refused:
        Dataplane(plugins=["gre", installed("bad", "x = 1\ndef broken(:\n")])
    assert "line 2" not in str(refused.value), "once"
