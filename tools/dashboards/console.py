"""The dashboards as Prometheus console templates: etc/prometheus/consoles, and their library.

Prometheus fills in the instances and links to choose from (Go templates) and serves the page; the
script of the library draws the panels with what the same Prometheus answers.  Nothing is loaded
from anywhere else.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from tools.dashboards.panel import COLUMNS, STATES, Dashboard, Panel, Section, Variable

_HERE = Path(__file__).parent


def library() -> str:
    """The library: style and script, that every page has."""
    style, script = ((_HERE / f"console.{kind}").read_text() for kind in ("css", "js"))
    return (
        f'{{{{ define "vdp_style" }}}}<style>\n{style}</style>{{{{ end }}}}\n'
        f'{{{{ define "vdp_script" }}}}<script>\n{script}</script>{{{{ end }}}}\n'
    )


def page(dashboard: Dashboard, all_of_them: tuple[Dashboard, ...]) -> str:
    """A page's template."""
    links = "\n".join(
        f'    <a href="{other.name}.html"{current(other, dashboard)}>{escape(short_title(other))}</a>'
        for other in all_of_them
    )
    choices = "\n".join(map(_select, dashboard.variables))
    sections = "\n".join(map(_section, dashboard.sections))
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(dashboard.title)}</title>
<link rel="icon" href="data:,">
{{{{ template "vdp_style" }}}}
</head>
<body data-prefix="{{{{ pathPrefix }}}}" data-states="{escape(json.dumps(STATES))}">
<header>
  <h1>vdp</h1>
  <nav>
{links}
  </nav>
  <div class="right">
{choices}
    <div class="ranges" aria-label="time"></div>
    <span id="state">asking Prometheus …</span>
  </div>
</header>
<p class="about">{escape(dashboard.text)}</p>
<noscript><p class="about">The panels are drawn by a script, which this browser does not run.</p></noscript>
<main>
{sections}
</main>
<footer>Behind the ? of a panel: what to do about it, and its query.
<a href="{{{{ pathPrefix }}}}/alerts">Alerts</a> ·
<a href="{{{{ pathPrefix }}}}/targets">Targets</a></footer>
{{{{ template "vdp_script" }}}}
</body>
</html>
"""


def short_title(dashboard: Dashboard) -> str:
    """Without the product's name: "Links and protocol errors"."""
    return dashboard.title.removeprefix("vdp: ").capitalize()


def current(other: Dashboard, dashboard: Dashboard) -> str:
    return ' aria-current="page"' if other is dashboard else ""


def _select(variable: Variable) -> str:
    asked = f"count by ({variable.label}) (last_over_time({variable.metric}[1d]))"  # what is down, too
    return (
        f'    <label>{variable.label} <select name="{variable.label}"><option value="">all</option>'
        f'{{{{ range query "{asked}" | sortByLabel "{variable.label}" }}}}'
        f"<option>{{{{ .Labels.{variable.label} }}}}</option>{{{{ end }}}}</select></label>"
    )


def _section(section: Section) -> str:
    panels = "\n".join(map(_panel, section.panels))
    return f'<h2>{escape(section.title)}</h2>\n<div class="grid">\n{panels}\n</div>'


def _panel(panel: Panel) -> str:
    about = {
        "title": panel.title,
        "kind": panel.kind,
        "unit": panel.unit,
        "base": panel.base,
        "steps": panel.steps,
        "empty": panel.empty,
        "queries": [{"expr": q.expr, "legend": q.legend, "tone": q.tone} for q in panel.queries],
    }
    queries = "".join(f"<code>{escape(query.expr)}</code>" for query in panel.queries)
    whole = " whole" if panel.width == COLUMNS else ""
    return (
        f'<figure class="panel {panel.kind}{whole}" style="--wide:{panel.width}" '
        f'data-panel="{escape(json.dumps(about, ensure_ascii=False))}">\n'
        f"<figcaption><h3>{escape(panel.title)}</h3>"
        f'<details><summary title="What to do">?</summary><p>{escape(panel.text)}{queries}</p></details>'
        f'</figcaption>\n<div class="body"></div>\n</figure>'
    )
