"""The dashboards over a real Prometheus that scrapes real vdp, with traffic that is known and faults."""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Lab, wait_for
from tools.dashboards.files import DASHBOARDS
from tools.dashboards.links import LINKS
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.panel import Dashboard, Panel, Query
from tools.dashboards.performance import PERFORMANCE
from tools.dashboards.site import DISCARD, PROMETHEUS, Site

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

PANELS = [
    pytest.param(dashboard, panel, id=f"{dashboard.name}: {panel.title}")
    for dashboard in DASHBOARDS
    for panel in dashboard.panels()
]
#: Sent through branch, datagrams in IPv4 packets of this size; and to the discard service, through tap0.
DATAGRAMS, PACKET = 3000, 1028
DISCARDED = 1000
#: In turn one for no link, one without checksum, one that a handler fails on, one cut, one of a router.
BROKEN, FAULTS = 500, 5


@dataclass
class Watched:
    """A site where all was sent and scraped.  began: between what came before, and what is measured."""

    site: Site
    start: float
    began: float
    end: float

    @property
    def interval(self) -> int:
        """Of rates that cover what is measured, and nothing before."""
        return math.ceil(self.end - self.began)

    def filled(self, expr: str, instance: str = ".*", link: str = ".*") -> str:
        values = {"instance": instance, "link": link, "__rate_interval": f"{self.interval}s"}
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)

    def finite(self, query: Query) -> int:
        """Series with a finite value, since the start."""
        found = self.site.ask(
            "query_range", query=self.filled(query.expr), start=self.start, end=self.end, step=1
        )
        return sum(any(math.isfinite(float(v)) for _, v in s["values"]) for s in found["result"])

    def total(self, query: Query, instance: str, labels: dict[str, str]) -> float:
        """How many a panel's rate stands for: it is their number by the time from first to last scrape."""
        expr = self.filled(query.expr, instance)
        found = [
            float(series["value"][1])
            for series in self.site.ask("query", query=expr, time=self.end)["result"]
            if labels.items() <= series["metric"].items()
        ]
        assert len(found) == 1, f"{expr}: {found}"
        scrapes = f'vdp_ready{{instance="{instance}"}}[{self.interval}s]'
        samples = self.site.ask("query", query=scrapes, time=self.end)["result"][0]["values"]
        return found[0] * float(samples[-1][0] - samples[0][0])


def _send(site: Site) -> None:
    """Everything of the constants above; returns when edge1 has counted it."""
    reasons = {"policy_rule": DISCARDED, "tunnel_no_link": BROKEN // FAULTS, "tunnel_short": BROKEN // FAULTS}

    def counts() -> dict[str, int]:
        found = dict.fromkeys(reasons, 0)
        for row in site.daemons[0].ask("drop.show"):
            if row["reason"] in found:
                found[row["reason"]] += row["packets"]
        return found

    before = counts()
    sent = [
        site.send_udp("10.0.1.2", PACKET - 28, 2000, DATAGRAMS),
        site.send_udp("10.0.0.2", 100, 800, DISCARDED, port=DISCARD),
        site.send_broken(300, BROKEN),
    ]
    for process in sent:
        assert process.wait(20) == 0, process.said()
    wait_for(
        "edge1 to drop what it should",
        lambda: all(count - before[reason] >= reasons[reason] for reason, count in counts().items()),
    )


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """Everything is sent twice: a rate whose first value is 0 is taken for less (no counter was below it)."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    with Lab() as lab:
        start = time.time()
        site = Site.of(lab)
        site.serve_iperf()
        report = site.inside1.iperf_client("10.0.0.2", 5201, transfer="20M")
        assert report["end"]["sum_received"]["bytes"] > 0
        site.fail_reload()
        _send(site)
        began = site.wait_scraped(time.time())
        site.wait_scraped(began + 1)
        _send(site)
        end = site.wait_scraped(time.time() + 0.2)
        # Something to see for those who look at what is now.
        site.send_udp("10.0.1.2", 200, 200)
        site.send_broken(20)
        yield Watched(site, start, began, end)


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_each_panel_shows_something(watched: Watched, dashboard: Dashboard, panel: Panel) -> None:
    assert sum(map(watched.finite, panel.queries)) >= 1


def query(dashboard: Dashboard, title: str) -> Query:
    """The first of a panel's."""
    return next(panel.queries[0] for panel in dashboard.panels() if panel.title == title)


@pytest.mark.parametrize(
    ("dashboard", "title", "instance", "labels", "sent"),
    [
        (OVERVIEW, "Where do packets come in?", "edge1", {"port": "tun0"}, DATAGRAMS),
        (OVERVIEW, "Where do bits come in?", "edge1", {"port": "tun0"}, 8 * DATAGRAMS * PACKET),
        (OVERVIEW, "Where do packets go out?", "edge2", {"port": "tun0"}, DATAGRAMS),
        (OVERVIEW, "Where do bits go out?", "edge2", {"port": "tun0"}, 8 * DATAGRAMS * PACKET),
        (OVERVIEW, "Why are packets dropped?", "edge1", {"reason": "tunnel_no_link"}, BROKEN / FAULTS),
        (OVERVIEW, "Why are packets dropped?", "edge1", {"reason": "tunnel_short"}, BROKEN / FAULTS),
        (OVERVIEW, "What is dropped by rules and the kernel?", "edge1", {}, DISCARDED),
        (LINKS, "Which link sends how many packets?", "edge1", {"link": "branch"}, DATAGRAMS),
        (LINKS, "Which link sends how much?", "edge1", {"link": "branch"}, 8 * DATAGRAMS * PACKET),
        (LINKS, "Which link receives how many packets?", "edge2", {"link": "branch"}, DATAGRAMS),
        (LINKS, "Which link receives how much?", "edge2", {"link": "branch"}, 8 * DATAGRAMS * PACKET),
        (LINKS, "Which errors do links count?", "edge1", {"kind": "rx_crc"}, BROKEN / FAULTS),
        (LINKS, "Which ICMP errors come back?", "edge1", {"effect": "failure"}, BROKEN / FAULTS),
        (LINKS, "Do strangers knock?", "edge1", {}, BROKEN / FAULTS),
        (PERFORMANCE, "Which handlers fail?", "edge1", {"handler": "moody_rcv"}, BROKEN / FAULTS),
    ],
)  # fmt: skip
def test_the_figures_are_what_was_sent(
    watched: Watched, dashboard: Dashboard, title: str, instance: str, labels: dict[str, str], sent: float
) -> None:
    assert watched.total(query(dashboard, title), instance, labels) == pytest.approx(sent, rel=0.01)


def test_alerts_are_counted(watched: Watched) -> None:
    """That of the failed reload, and whichever other fires by now."""
    expr = watched.filled(query(OVERVIEW, "How many alerts fire?").expr, "edge1")

    def firing() -> list[str]:
        return [
            alert["labels"]["alertname"]
            for alert in watched.site.ask("alerts")["alerts"]
            if alert["state"] == "firing" and alert["labels"].get("instance") == "edge1"
        ]

    def counted() -> bool:
        return int(watched.site.ask("query", query=expr)["result"][0]["value"][1]) == len(firing())

    assert "VdpConfigReloadFailed" in firing()
    wait_for("the panel to have as many as Prometheus", counted)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_the_console(
    watched: Watched, dashboard: Dashboard, scheme: str, tmp_path: Path
) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "chromium is not installed (tools/debian.sh test)"
    drawn = watched.site.edge1.start(
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path}", "--virtual-time-budget=3000", "--dump-dom",
        f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
        f"http://{PROMETHEUS}/consoles/{dashboard.name}.html?range=5m",
    )  # fmt: skip
    assert drawn.wait(90) == 0, drawn.said()
    page = drawn.out.read_text()
    assert not re.findall(r".*(?:CONSOLE|Refused|net::ERR).*", drawn.err.read_text(errors="replace"))
    assert re.search(r'<span id="state" class="">as of ', page)
    assert page.count("<option>edge") == 2
    bodies = re.findall(r'<div class="body">(.*?)</figure>', page, re.DOTALL)
    assert len(bodies) == len(dashboard.panels())
    for body, panel in zip(bodies, dashboard.panels(), strict=True):
        assert not re.search(r'class="(?:empty|value words)', body), f"{panel.title}: {body}"
