"""The dashboards for Grafana: etc/grafana, made with Grafana's own builders.

Import one as it is, or have Grafana read the folder (provisioning); the Prometheus to ask is
chosen on the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from tools.dashboards.panel import COLUMNS, STATES, Dashboard, Panel, Tone, Unit, Variable

_UNITS: dict[Unit, str] = {
    "pps": "pps", "bit/s": "bps", "bytes": "bytes", "B": "suffix: B", "share": "percentunit", "seconds": "s",
    "count": "short", "/s": "ops", "up": "none", "ready": "none", "fires": "none",
}  # fmt: skip
_COLOURS: dict[Tone, str] = {
    "good": "green", "warning": "orange", "bad": "red", "calm": "blue", "receive": "blue",
    "transmit": "purple",
}  # fmt: skip
_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_Property = model.DynamicConfigValue
#: Panels of the SDK have no class above them that types their common methods.
_Builder = Any


def page(description: Dashboard) -> str:
    """The JSON of a dashboard."""
    built = (
        dashboard.Dashboard(description.title)
        .uid(f"vdp-{description.name}")
        .description(description.text)
        .tags(["vdp"])
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .variables([dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")])
        .link(dashboard.DashboardLink("vdp").type(model.DashboardLinkType.DASHBOARDS).tags(["vdp"])
              .keep_time(True).include_vars(True))
    )  # fmt: skip
    for variable in description.variables:
        built.with_variable(_variable(variable))
    y = 0
    for section in description.sections:
        built.with_row(dashboard.Row(section.title).grid_pos(model.GridPos(h=1, w=COLUMNS, x=0, y=y)))
        y += 1
        x = height = 0
        for panel in section.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            height = _height(panel)
            built.with_panel(_panel(panel).grid_pos(model.GridPos(h=height, w=panel.width, x=x, y=y)))
            x += panel.width
        y += height
    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(_finished(built.build())) + "\n"


def _height(panel: Panel) -> int:
    """In rows.  States that have the whole width are few and need little."""
    if panel.kind == "stat":
        return 4
    return 5 if panel.kind == "states" and panel.width == COLUMNS else 8


def _finished(built: model.Dashboard) -> model.Dashboard:
    """With a number for each panel, that links have; without what only variables of intervals have."""
    assert built.templating is not None
    for variable in built.templating.list_val or []:
        variable.auto = variable.auto_min = variable.auto_count = None
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number
    return built


def _variable(variable: Variable) -> dashboard.QueryVariable:
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(variable.label)
        .datasource(_SOURCE)
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .current(everything)
    )


def _panel(panel: Panel) -> _Builder:
    kinds = {"stat": _stat, "lines": _lines, "stack": _lines, "bars": _bars, "states": _states}
    built = (
        kinds[panel.kind](panel)
        .title(panel.title)
        .description(panel.text)
        .datasource(_SOURCE)
        .unit(_UNITS[panel.unit])
        .no_value(panel.empty)
        .thresholds(
            dashboard.ThresholdsConfig()
            .mode(model.ThresholdsMode.ABSOLUTE)
            .steps([
                model.Threshold(value=None, color=_base(panel)),
                *(model.Threshold(value=at, color=_COLOURS[tone]) for at, tone in panel.steps),
            ])
        )
    )  # fmt: skip
    if panel.unit in STATES:
        built.mappings([_mapping(panel)])
    for number, query in enumerate(panel.queries):
        name = chr(ord("A") + number)
        target = prometheus.Dataquery().expr(query.expr).ref_id(name).datasource(_SOURCE)
        built.with_target(
            (target.instant() if panel.kind == "bars" else target.range()).legend_format(
                _legend(query.legend)
            )
        )
        if query.tone != "series" and panel.kind in ("lines", "stack"):
            fixed = _Property(id_val="color", value={"mode": "fixed", "fixedColor": _COLOURS[query.tone]})
            built.override_by_query(name, [fixed])
    return built


def _legend(text: str) -> str:
    """In Grafana's braces."""
    return re.sub(r"\{(\w+)\}", r"{{\1}}", text)


def _base(panel: Panel) -> str:
    """The colour below all thresholds; a line's threshold has none there."""
    return "transparent" if panel.kind in ("lines", "stack") else _COLOURS[panel.base]


def _mapping(panel: Panel) -> model.ValueMap:
    def tone(value: int) -> Tone:
        return next((tone for at, tone in reversed(panel.steps) if value >= at), panel.base)

    return model.ValueMap(
        options={
            str(value): model.ValueMappingResult(text=word, color=_COLOURS[tone(value)], index=number)
            for number, (value, word) in enumerate(STATES[panel.unit].items())
        }
    )


def _reduced(calculations: Sequence[str]) -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(list(calculations)).values(False)


def _by_threshold() -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def _stat(panel: Panel) -> _Builder:
    return (
        stat.Panel()
        .reduce_options(_reduced(["lastNotNull"]))
        .color_mode(common_model.BigValueColorMode.VALUE)
        .graph_mode(common_model.BigValueGraphMode.AREA)
        .text_mode(common_model.BigValueTextMode.VALUE)
        .color_scheme(_by_threshold())
    )


def _bars(panel: Panel) -> _Builder:
    return (
        bargauge.Panel()
        .reduce_options(_reduced(["lastNotNull"]))
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        .color_scheme(_by_threshold())
        .min(0)
    )


def _states(panel: Panel) -> _Builder:
    return (
        statetimeline.Panel()
        .color_scheme(_by_threshold())
        .show_value(common_model.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .legend(common.VizLegendOptions().show_legend(False))
    )


def _lines(panel: Panel) -> _Builder:
    stacked = panel.kind == "stack"
    built = (
        timeseries.Panel()
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .line_width(1 if stacked else 2)
        .fill_opacity(60 if stacked else 8)
        .show_points(common_model.VisibilityMode.AUTO)
        .axis_soft_min(0)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .sort_by("Last *")
            .sort_desc(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
    )
    if stacked:
        built.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    if panel.steps:
        style = common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
        built.thresholds_style(style)
        built.axis_soft_max(panel.steps[-1][0])
    return built
