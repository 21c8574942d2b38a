"""The descriptions of the dashboards, and the files made from them, without anything running."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from tools.dashboards.files import DASHBOARDS, ETC, made
from tools.dashboards.grafana import page
from tools.dashboards.panel import COLUMNS, STATES, Dashboard, Panel
from vdp.metrics.catalogue import CATALOGUE

#: What Prometheus adds to every series of a scrape.
TARGET = {"job", "instance"}
#: Of Prometheus and the client library.
OTHERS = {
    "ALERTS": {"alertname", "alertstate"},
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "up": set(),
}
PANELS = [
    pytest.param(dashboard, panel, id=f"{dashboard.name}: {panel.title}")
    for dashboard in DASHBOARDS
    for panel in dashboard.panels()
]


def labels_of(name: str) -> set[str]:
    """Of a metric; AssertionError when the catalogue has none of that name."""
    known = {metric.name: set(metric.labels) for metric in CATALOGUE} | OTHERS
    for metric in CATALOGUE:
        if metric.type == "histogram":
            known[f"{metric.name}_bucket"] = {*metric.labels, "le"}
    assert name in known, f"the catalogue has no {name}"
    return known[name] | TARGET


def selectors(node: Any) -> Iterator[Any]:
    """The selectors of a parsed expression."""
    if isinstance(node, promql.VectorSelector):
        yield node
    for part in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if getattr(node, part, None) is not None:
            yield from selectors(getattr(node, part))
    for argument in getattr(node, "args", None) or []:
        yield from selectors(argument)


def parsed(expr: str) -> Any:
    return promql.parse(expr.replace("$__rate_interval", "1m"))


@pytest.mark.parametrize("path", made(), ids=lambda path: path.name)
def test_the_files_are_what_the_descriptions_say(path: Path) -> None:
    assert path.read_text() == made()[path], f"{path.name} is behind: make docs"


def test_there_are_no_files_of_dashboards_that_were() -> None:
    for folder in {path.parent for path in made()}:
        assert {path for path in folder.iterdir() if path.is_file()} == {
            path for path in made() if path.parent == folder
        }


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_each_query_is_promql_over_the_catalogue(dashboard: Dashboard, panel: Panel) -> None:
    for query in panel.queries:
        found = list(selectors(parsed(query.expr)))
        assert found or query.expr == "vector(0)"
        for selector in found:
            named = {matcher.name for matcher in selector.matchers.matchers}
            assert named <= labels_of(selector.name), selector.name
            assert "instance" in named, f"{selector.name}: not for the chosen instances only"
            values = " ".join(matcher.value for matcher in selector.matchers.matchers)
            chosen = {variable.label for variable in dashboard.variables}
            assert set(re.findall(r"\$(\w+)", values)) <= chosen, f"{dashboard.name} has no such variable"


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_each_legend_and_grouping_names_labels_that_there_are(dashboard: Dashboard, panel: Panel) -> None:
    for query in panel.queries:
        there = set.union(*(labels_of(selector.name) for selector in selectors(parsed(query.expr))))
        grouped = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", query.expr)
        words = {word.strip() for text in grouped for word in text.split(",") if word.strip()}
        assert words | set(re.findall(r"\{(\w+)\}", query.legend)) <= there


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_each_panel_asks_and_says_what_to_do(dashboard: Dashboard, panel: Panel) -> None:
    assert panel.title.endswith("?")
    assert len(panel.title) <= 50
    assert panel.text.rstrip().endswith((".", "REASON`."))
    assert panel.empty
    assert [at for at, _ in panel.steps] == sorted(at for at, _ in panel.steps)
    if panel.unit in STATES and panel.kind == "states":
        assert panel.steps


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_rows_are_full(dashboard: Dashboard) -> None:
    """Panels fill whole rows: no hole at the right."""
    for section in dashboard.sections:
        x = 0
        for panel in section.panels:
            x = x + panel.width if x + panel.width <= COLUMNS else panel.width
        assert x == COLUMNS, section.title


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_grafana_gets_every_panel(dashboard: Dashboard) -> None:
    built = json.loads(page(dashboard))
    panels = [panel for panel in built["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in dashboard.panels()]
    assert len({panel["id"] for panel in built["panels"]}) == len(built["panels"])
    for panel, described in zip(panels, dashboard.panels(), strict=True):
        assert [target["expr"] for target in panel["targets"]] == [q.expr for q in described.queries]
        assert panel["fieldConfig"]["defaults"]["noValue"] == described.empty
    taken = [(p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy) for p in built["panels"]
             for dx in range(p["gridPos"]["w"]) for dy in range(p["gridPos"]["h"])]  # fmt: skip
    assert len(taken) == len(set(taken)), "panels lie on one another"


READY, DOWN, SILENT = "Is everything set up?", "How many links are down?", "How many are silent?"


@pytest.mark.parametrize(
    ("title", "series", "value"),
    [
        (READY, {"up": "1", "vdp_ready": "1"}, 1),
        (READY, {"up": "1", "vdp_ready": "0"}, 0),
        (READY, {"up": "1", "vdp_ready": "1", 'up{instance="b"}': "0"}, -1),
        (READY, {"up": "1x2 0", "vdp_ready": "1x2 stale"}, -1),
        (READY, {}, None),
        (DOWN, {'vdp_link_up{link="x"}': "0", 'vdp_link_up{link="y"}': "1"}, 1),
        (DOWN, {'vdp_link_up{link="x"}': "1x2 stale"}, None),
        (SILENT, {"vdp_link_transmit_packets_total": "0+60x3", "vdp_link_receive_packets_total": "5x3"}, 1),
        (SILENT, {"vdp_link_transmit_packets_total": "0+60x3", "vdp_link_receive_packets_total": "0+1x3"}, 0),
        (SILENT, {"vdp_link_transmit_packets_total": "5x3", "vdp_link_receive_packets_total": "5x3"}, 0),
    ],
)
def test_nobody_is_called_well_who_does_not_answer(
    title: str, series: dict[str, str], value: float | None, tmp_path: Path
) -> None:
    panel = next(panel for each in DASHBOARDS for panel in each.panels() if panel.title == title)
    expr = re.sub(
        r"\$(\w+)", lambda found: "4m" if found[1] == "__rate_interval" else ".*", panel.queries[0].expr
    )

    def labelled(name: str) -> str:
        name, _, labels = name.rstrip("}").partition("{")
        given = dict(re.findall(r'(\w+)="(\w+)"', labels))
        labels = ",".join(f'{key}="{text}"' for key, text in {"job": "vdp", "instance": "a", **given}.items())
        return f"{name}{{{labels}}}"

    test = {
        "interval": "1m",
        "input_series": [{"series": labelled(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": "3m",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"tests": [test]}))  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_about_them_names_panels_that_there_are() -> None:
    text = (ETC.parent / "docs" / "dashboards.md").read_text()
    named = set(re.findall(r"\*([A-Z][^*|]*\?)\*", text))
    titles = {panel.title for dashboard in DASHBOARDS for panel in dashboard.panels()}
    assert len(named) > 20
    assert named <= titles


@pytest.mark.parametrize("path", [p for p in made() if "prometheus" in p.parts], ids=lambda path: path.name)
def test_consoles_take_nothing_from_elsewhere(path: Path) -> None:
    text = made()[path]
    assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", text)
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
