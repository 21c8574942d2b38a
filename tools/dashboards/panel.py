"""What a dashboard is described with, and the pieces of PromQL that its panels share.

A panel's title is the question it answers; its text says what to do about the answer.  Colours
are given by meaning (Tone), the same in Grafana and in the console pages.  `$instance`, `$link`
and `$__rate_interval` stand in expressions as in Grafana; the console pages fill them in, too.
A legend has labels in braces: `{port}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: stat: the newest value, large.  lines, stack: over time.  bars: the newest values, one below the other.
#: states: 1 and 0 over time, a row for each series.
Kind = Literal["stat", "lines", "stack", "bars", "states"]
#: What a colour says.  `series` is any colour of the palette: one for each label value.
Tone = Literal["good", "warning", "bad", "calm", "receive", "transmit", "series"]
#: bytes are scaled to KiB and MiB, B are not.
Unit = Literal["pps", "bit/s", "bytes", "B", "share", "seconds", "count", "/s", "up", "ready", "fires"]

#: The width of a dashboard in columns, as Grafana has it.
COLUMNS = 24
#: Ranges of values with a colour: from this value on.
Steps = tuple[tuple[float, Tone], ...]
#: What values mean, of the units that are states.
STATES: dict[str, dict[int, str]] = {
    "up": {0: "down", 1: "up"},
    "ready": {-1: "no answer", 0: "not ready", 1: "ready"},
    "fires": {0: "quiet", 1: "fires"},
}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and how its series are called and coloured."""

    expr: str
    legend: str
    tone: Tone = "series"


@dataclass(frozen=True, slots=True)
class Panel:
    """One question.  empty: what no series means.  steps: thresholds, above `base`."""

    title: str
    text: str
    kind: Kind
    unit: Unit
    queries: tuple[Query, ...]
    width: int = 8
    empty: str = "No data."
    base: Tone = "calm"
    steps: Steps = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """What the reader may choose: the values of a label of a metric."""

    label: str
    metric: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page.  name: of its files."""

    name: str
    title: str
    text: str
    sections: tuple[Section, ...]
    variables: tuple[Variable, ...]

    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)


INSTANCE = Variable("instance", "vdp_build_info")
LINK = Variable("link", "vdp_link_info")
#: The matcher that every selector has, and that of selectors by link.
SELECTED = 'instance=~"$instance"'
SELECTED_LINK = f'{SELECTED},link=~"$link"'
#: Matches ports and not the GRO cells of links, which would count packets twice.
DEVICES = f'on (job, instance, port) group_left () vdp_port_info{{{SELECTED},type!="gro-cell"}}'


def of(name: str, more: str = "", selected: str = SELECTED) -> str:
    """A selector.  more: further matchers."""
    return f"{name}{{{','.join(filter(None, [selected, more]))}}}"


def of_link(name: str, more: str = "") -> str:
    """The same of the chosen links."""
    return of(name, more, SELECTED_LINK)


def rate(selector: str) -> str:
    """Per second, over an interval that has samples enough."""
    return f"rate({selector}[$__rate_interval])"


def total(expr: str, *by: str) -> str:
    """Added up, by labels."""
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def device_rate(name: str) -> str:
    """Per second, of each port with a device."""
    return f"({rate(of(name))} * {DEVICES})"


def share(part: str, whole: str) -> str:
    """One by the other; nothing while the whole is nothing."""
    return f"{part} / ({whole} > 0)"
