"""Every file that is made from the descriptions, and where it belongs.  A test holds the files to it."""

from __future__ import annotations

from pathlib import Path

from tools.dashboards import console, grafana
from tools.dashboards.links import LINKS
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.panel import Dashboard
from tools.dashboards.performance import PERFORMANCE

ETC = Path(__file__).parents[2] / "etc"
DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, LINKS, PERFORMANCE)


def made() -> dict[Path, str]:
    """The text of each file."""
    prometheus = ETC / "prometheus"
    texts = {prometheus / "console_libraries" / "vdp.lib": console.library()}
    for dashboard in DASHBOARDS:
        texts[prometheus / "consoles" / f"{dashboard.name}.html"] = console.page(dashboard, DASHBOARDS)
        texts[ETC / "grafana" / f"vdp-{dashboard.name}.json"] = grafana.page(dashboard)
    return texts


def write() -> None:
    for path, text in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
