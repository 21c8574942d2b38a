"""The status page: what it says, and that nothing from the dataplane gets into its markup."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.control.fake_view import FakeView
from tests.metrics.test_server import get, run
from vdp.control.view import DropRow, LinkRow, PortRow
from vdp.metrics.server import MetricsServer
from vdp.status import History, findings, render
from vdp.status.words import ago, bits, rate, short

HOSTILE = "<script>alert('x')</script>\" onload=\x1b[31m\u202e\udcff&amp;"


class Stopwatch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class View(FakeView):
    """Gives rows that do not change when it does, as the datapath does."""

    def show_ports(self) -> list[PortRow]:
        return [{**row, "counters": {**row["counters"]}} for row in super().show_ports()]

    def show_links(self) -> list[LinkRow]:
        return [{**row, "counters": {**row["counters"]}} for row in super().show_links()]

    def show_drops(self) -> list[DropRow]:
        return [{**row} for row in super().show_drops()]


class Text(HTMLParser):
    """The elements and the text of a page; an element that is left open is an error."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def watched() -> tuple[View, Stopwatch, History]:
    view, clock = View(), Stopwatch()
    return view, clock, History(view, clock)


def test_rates_are_of_the_last_two_samples() -> None:
    view, clock, history = watched()
    counters = view.ports[0]["counters"]
    for _ in range(3):
        clock.now += 5
        counters["rx_segments"] += 6_150
        counters["rx_bytes"] += 625_000
        history.take()
    page = Text(render(history)).text
    assert "1.23 k pps" in page
    assert "1.00 Mbit/s" in page
    assert [round(flow.received) for flow in history.ports["tap0"]] == [1230] * 3


def test_lines_have_one_pace_however_often_one_looks() -> None:
    view, clock, history = watched()
    for _ in range(20):
        clock.now += 1
        view.ports[0]["counters"]["rx_segments"] += 100
        history.fresh()
    assert [moment.through.received for moment in history.moments] == [100.0] * 4


def test_what_is_wrong_comes_first_and_says_where_to_look() -> None:
    view, clock, history = watched()
    link = view.links[0]
    link["err_count"] = 0
    for seconds in (5, 5, 70, 5):
        clock.now += seconds
        link["counters"]["tx_packets"] += 10
        link["counters"]["rx_packets"] += 10 * (clock.now < 10)
        history.take()
    said = [
        finding
        for finding in findings(history.now, history.rates, history.heard, history.spoke)
        if finding.subject == f"link {link['name']}"
    ]
    assert [(finding.severity, finding.command) for finding in said] == [
        ("bad", f"vdp link show {link['name']}")
    ]
    assert "has heard nothing" in said[0].sentence
    page = Text(render(history)).text
    assert page.index("has heard nothing") < page.index("Received")


@pytest.mark.parametrize(
    ("told_by", "said"),
    [("192.0.2.2", "192.0.2.2 itself answers by ICMP: nobody takes the tunnel's packets there"),
     ("192.0.2.254", "192.0.2.254 says by ICMP that 192.0.2.2 can not be reached"),
     (None, "ICMP says that 192.0.2.2 can not be reached (from the far host itself: nobody takes")],
)  # fmt: skip
def test_who_says_that_a_remote_can_not_be_reached(told_by: str | None, said: str) -> None:
    view, clock, history = watched()
    view.links[0]["err_from"] = told_by
    clock.now += 5
    history.take()
    (told,) = [each for each in history.findings() if each.subject == "link gt1"]
    assert (told.severity, told.sentence.startswith(said)) == ("bad", True), told.sentence


def test_a_timer_of_a_plugin_that_rests_for_failing_is_told() -> None:
    _, _, history = watched()
    found = findings(history.now, history.rates, history.heard, history.spoke)
    (told,) = [finding for finding in found if finding.command == "vdp plugin enable wccp"]
    assert "timer vdp_wccp.tick failed too often and rests for a while: ValueError" in told.sentence


def test_of_each_bridge_one_address_that_moves_is_told() -> None:
    view, clock, history = watched()
    view.state["held_macs"] = [
        {
            "bridge": "br0",
            "mac": "02:00:00:00:00:01",
            "member": "tap0",
            "age_s": 0.1,
            "held": True,
            "count": 3,
        }
    ]
    clock.now += 5
    history.take()
    found = findings(history.now, history.rates, history.heard, history.spoke)
    (told,) = [finding for finding in found if finding.subject == "bridge br0"]
    assert told.command == "vdp bridge macs"
    assert told.sentence.startswith("02:00:00:00:00:01 and 2 more move to and fro between members")


def test_that_events_of_the_kernel_are_lost_is_told_and_for_a_minute_that_they_were() -> None:
    view, clock, history = watched()

    def told() -> list[tuple[str, str]]:
        clock.now += 5
        history.take()
        return [
            (each.severity, each.sentence) for each in history.findings() if each.subject == "netlink of blue"
        ]

    heard = view.state["netlink"][1]
    assert told() == []
    heard |= {"in_step": False, "lost_ago_s": 0.25}
    ((severity, sentence),) = told()
    assert (severity, "all is asked for again" in sentence) == ("bad", True)
    heard |= {"in_step": True, "lost_ago_s": 30.0}
    assert told() == [("warning", "Events of the kernel were lost 30 s ago: all was asked for again.")]
    heard["lost_ago_s"] = 61.0
    assert told() == []


def test_a_link_that_has_nothing_to_say_is_not_wrong() -> None:
    view, clock, history = watched()
    view.links[0]["err_count"] = 0
    for _ in range(30):
        clock.now += 5
        history.take()
    found = findings(history.now, history.rates, history.heard, history.spoke)
    assert not [finding for finding in found if finding.subject.startswith("link")]


def test_nothing_of_the_dataplane_becomes_markup() -> None:
    view, clock, history = watched()
    before = {tag for tag, _ in Text(render(history)).elements}
    view.ports[0]["name"] = view.links[0]["name"] = view.links[0]["kind"] = HOSTILE
    view.ports[0]["error"] = HOSTILE
    clock.now += 5
    history.take()
    page = render(history)
    read = Text(page)
    assert {tag for tag, _ in read.elements} <= before
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\udcff", "\\udcff")
    assert shown in read.words
    assert "\x1b" not in page
    assert not [attributes for _, attributes in read.elements if any(n.startswith("on") for n in attributes)]


def test_memory_is_bounded() -> None:
    view, clock, history = watched()
    row = view.ports[0]
    view.ports = [{**row, "name": f"p{n}", "counters": {**row["counters"]}} for n in range(300)]
    for _ in range(300):
        clock.now += 5
        history.take()
    assert len(history.ports) == 128
    assert {len(line) for line in history.ports.values()} == {120}
    page = Text(render(history)).text
    assert "and 250 more" in page


def test_it_is_served_and_takes_nothing_from_elsewhere() -> None:
    async def test(server: MetricsServer) -> None:
        status, headers, body = await get(server, "/")
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        named = re.findall(r'(?:src|href)="([^"]*)"', body.decode())
        assert sorted(set(named)) == ["-/ready", "data:,", "metrics", "status.css", "status.js"]
        for name in ("status.css", "status.js"):
            status, headers, body = await get(server, f"/{name}")
            assert status == 200
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert b"//" not in re.sub(rb"(?m)^//.*$", b"", body)  # no address

    run(test)


def test_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws itself anew, and the browser complains about nothing.

    The browser's clock is virtual and stands still while it waits for an answer: it draws at 0, 2 and 4 s.
    """
    drawings = itertools.count(1)
    monkeypatch.setattr(
        "vdp.metrics.server.render",
        lambda history: render(history).replace("</title>", f", drawing {next(drawings)}</title>"),
    )
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "chromium is not installed (tools/debian.sh test)"

    async def test(server: MetricsServer) -> None:
        arguments = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path}", "--virtual-time-budget=6000", "--dump-dom",
            f"http://{server.address.host}:{server.address.port}/",
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, log = (text.decode(errors="replace") for text in await process.communicate())
        assert not re.findall(r".*(?:CONSOLE|Refused|net::ERR).*", log)
        assert 'class="stale"' not in out
        shown = re.search(r"<title>.*, drawing (\d+)</title>", out)
        assert shown
        assert int(shown[1]) >= 2

    run(test, timeout_s=20)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (0.25, "0.2"), (1.5, "1.50"), (999, "999"), (999.6, "1.00 k"), (1234, "1.23 k"),
     (45_678, "45.7 k"), (999_999, "1.00 M"), (3.2e12, "3.20 T")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_units_stand_behind() -> None:
    assert (rate(0), rate(2_000), bits(0), bits(125), bits(125_000)) == (
        "0",
        "2.00 k pps",
        "0",
        "1.00 kbit/s",
        "1.00 Mbit/s",
    )
    assert (ago(3), ago(70), ago(7200), ago(200_000)) == ("3 s", "1 min", "2 h", "2 d")
