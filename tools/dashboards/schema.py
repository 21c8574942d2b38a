"""etc/grafana held against Grafana's own types: `python -m tools.dashboards check` (needs node and npm).

Each dashboard, panel, and each panel's options and fields become constants of TypeScript that are
declared to be what @grafana/schema says they are, without its enums' names; tsc is asked what it
thinks.  A property that Grafana does not know is an error, as is a value that it does not take.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.dashboards.files import ETC

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
#: By a panel's type: the name of its types' file, and whether it has fields of its own.
_TYPES = {
    "stat": ("StatPanelCfg", False),
    "bargauge": ("BarGaugePanelCfg", False),
    "timeseries": ("TimeSeriesPanelCfg", True),
    "state-timeline": ("StateTimelinePanelCfg", True),
}
_HEAD = """\
import type { Dashboard, Panel, RowPanel } from "@grafana/schema";
type Json<T> = T extends string ? `${T}`
  : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
type Page = Json<Omit<Dashboard, "panels">> & { panels: unknown[] };
"""
_OPTIONS = (
    "--noEmit", "--strict", "--skipLibCheck",
    "--moduleResolution", "bundler", "--module", "esnext", "--target", "es2022",
)  # fmt: skip


def program(dashboards: list[dict[str, Any]]) -> str:
    """The constants, one a line."""
    names = {kind: kind.replace("-", "") for kind in _TYPES}
    imports = [
        f"import type {{ Options as {names[kind]}Options"
        f"{f', FieldConfig as {names[kind]}Field' * own} }} "
        f'from "@grafana/schema/dist/esm/raw/composable/{names[kind]}/panelcfg/x/{file}_types.gen";\n'
        for kind, (file, own) in _TYPES.items()
    ]
    constants = [
        f"export const c{number}: {kind} = {json.dumps(value)};\n"
        for number, (kind, value) in enumerate(pair for each in dashboards for pair in _typed(each))
    ]
    return "".join((_HEAD, *imports, *constants))


def _typed(dashboard: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "Page", dashboard
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield "Json<RowPanel>", panel
            continue
        name = panel["type"].replace("-", "")
        yield "Json<Panel>", panel
        yield f"Json<{name}Options>", panel["options"]
        if _TYPES[panel["type"]][1]:
            yield f"Json<{name}Field>", panel["fieldConfig"]["defaults"].get("custom", {})


def check() -> int:
    """0 when Grafana's types take everything; else what tsc says is printed."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        print("node and npm are not installed: their packages are called nodejs and npm", file=sys.stderr)
        return 1
    dashboards = [json.loads(path.read_text()) for path in sorted((ETC / "grafana").glob("*.json"))]
    with tempfile.TemporaryDirectory(prefix="vdp-schema-") as name:
        folder = Path(name)
        subprocess.run(
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (folder / "check.ts").write_text(program(dashboards))
        tsc = folder / "node_modules" / "typescript" / "bin" / "tsc"
        done = subprocess.run([node, str(tsc), *_OPTIONS, "check.ts"], cwd=folder, check=False)
    if done.returncode == 0:
        print(f"{len(dashboards)} dashboards are what {PACKAGES[0]} says")
    return done.returncode
