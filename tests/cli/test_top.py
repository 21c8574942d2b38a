"""`vdp top`: the live screen under keys, and the same as text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static, TabbedContent

from tests.cli.conftest import Daemon
from tests.control.fake_view import FakeView
from vdp.cli import main
from vdp.cli.top_screen import Screen
from vdp.cli.top_tables import FLOWS_MOST, Flows
from vdp.control.errors import DaemonUnreachable
from vdp.control.remote import RemoteView
from vdp.status import History

Script = Callable[[Screen, Pilot[None]], Awaitable[None]]


def played(script: Script, view: FakeView, size: tuple[int, int] = (80, 24)) -> None:
    """Run it on a screen that looks only when it is told to."""

    async def main() -> None:
        clock = iter(range(0, 10_000, 2))
        screen = Screen(History(view, lambda: float(next(clock))), Flows(view.dump_flows), 3600)
        async with screen.run_test(size=size) as pilot:
            await script(screen, pilot)

    asyncio.run(main())


def cells(screen: Screen, name: str) -> list[list[str]]:
    table = screen.query_one(f"#{name}-table", DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (40, 10)])
def test_every_table_is_a_key_away(size: tuple[int, int]) -> None:
    view = FakeView()
    first = {"links": view.links[0]["name"], "ports": view.ports[0]["name"], "flows": "underlay",
             "drops": view.drops[0]["reason"], "handlers": "wccp"}  # fmt: skip

    async def script(screen: Screen, pilot: Pilot[None]) -> None:
        for key, (name, text) in enumerate(first.items(), 1):
            await pilot.press(str(key))
            await screen.workers.wait_for_complete()
            await pilot.pause()
            assert screen.query_one(TabbedContent).active == name
            assert any(text in row for row in cells(screen, name)), name

    played(script, view, size)


def test_sorted_and_turned() -> None:
    view = FakeView()

    async def script(screen: Screen, pilot: Pilot[None]) -> None:
        await pilot.press("2", "s")
        names = [row[0] for row in cells(screen, "ports")]
        assert names == sorted(names)
        await pilot.press("r")
        assert [row[0] for row in cells(screen, "ports")] == names[::-1]

    played(script, view)


def test_filtered_until_escape() -> None:
    view = FakeView()

    async def script(screen: Screen, pilot: Pilot[None]) -> None:
        await pilot.press("2", "slash", *"tap0")
        await pilot.pause()
        assert [row[0] for row in cells(screen, "ports")] == ["tap0"]
        await pilot.press("enter", "3")  # the keys are the screen's again, and the text stays
        assert screen.query_one(TabbedContent).active == "flows"
        await pilot.press("2", "slash", "x")
        assert cells(screen, "ports") == [["No row has this text."]]
        await pilot.press("escape")
        assert screen.query_one(Input).disabled
        assert len(cells(screen, "ports")) > 1

    played(script, view)


def test_what_is_wrong_is_said_and_goes() -> None:
    view = FakeView()

    async def script(screen: Screen, pilot: Pilot[None]) -> None:
        assert "It is down" in str(screen.query_one("#wrong", Static).render())
        for row in view.ports:
            row["up"], row["error"] = True, None
        for link in view.links:
            link["err_count"] = 0
        view.plugins.clear()
        view.handlers.clear()
        for step in view.state["overload"]["steps"]:
            step["taken"] = False
        await screen._look()
        assert "Nothing is wrong" in str(screen.query_one("#wrong", Static).render())

    played(script, view)


def test_a_pause_looks_no_more_and_an_end_is_said() -> None:
    view = FakeView()

    async def script(screen: Screen, pilot: Pilot[None]) -> None:
        await pilot.press("p")

        def gone() -> None:
            raise DaemonUnreachable("the daemon hung up")

        view.status = gone  # type: ignore[method-assign,assignment]
        await screen._look()
        assert "PAUSED" in str(screen.query_one("#totals", Static).render())
        assert "hung up" not in str(screen.query_one("#wrong", Static).render())
        await pilot.press("p")
        await screen._look()
        assert "hung up" in str(screen.query_one("#wrong", Static).render())

    played(script, view)


def test_flows_have_rates() -> None:
    view = FakeView()
    flows = Flows(view.dump_flows)
    view.flows[0] |= {"packets_per_s": 1000.0, "bits_per_s": 512_000.0}
    flows.take()
    table = flows.table()
    row = dict(zip(table.heads, table.rows[0], strict=True))
    assert (row["now"], row["bits"]) == ("1.00 k pps", "512 kbit/s")


def test_a_large_flow_table_is_not_asked_for_whole(daemon: Daemon) -> None:
    daemon.view.flows = daemon.view.flows * (2 * FLOWS_MOST)
    assert len(RemoteView(daemon.socket).busiest_flows(FLOWS_MOST)) == FLOWS_MOST


def test_once_is_text(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.view.ports[0]["name"] = "t\x1b[31mp"
    assert main(["top", "--once", "--interval", "0.2", "--socket", daemon.socket]) == 0
    out = capsys.readouterr().out
    assert out.startswith("rx 0 0 | tx 0 0 | dropped 0 |")
    assert "bad: port underlay: It is down" in out
    assert "\x1b" not in out
    for head in ("PORT", "LINK", "IN PORT", "REASON", "PLACE"):
        assert f"\n{head} " in out


def test_no_terminal_and_no_daemon_are_said(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--socket", daemon.socket]) == 2
    assert "vdp top --once" in capsys.readouterr().err
    assert main(["top", "--once", "--socket", daemon.socket + "x"]) == 3
    assert "vdp -c FILE" in capsys.readouterr().err
