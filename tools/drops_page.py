"""docs/drops.md, written from reasons.def: `python -m tools.drops_page > docs/drops.md`.

A test holds the page to what this prints.
"""

from __future__ import annotations

import re
from pathlib import Path

from vdp.explain.drops import DROPS

REASONS = Path(__file__).parents[1] / "vdp" / "engine" / "reasons.def"

_HEAD = """\
# Drop reasons

No packet vanishes: one that is not forwarded is counted once, under one of these names. `vdp drop show` lists
the counts, `vdp_drops_total` in the [metrics](metrics.md) has them with the labels `port` and `reason`.

A packet is charged to the port or link it came in by until an output takes it, then to that output. So
`tx_queue_full` and `cell_full` stand at the port or link that the packets should have left by or gone into,
nearly everything else at the one they came in by. `held` packets, which wait for the slow path, are not lost.

| reason | the packet was dropped because | where that comes from | what to do |
| --- | --- | --- | --- |
"""

_TAIL = """
A plugin's own reasons are named `plugin_PLUGIN_WORD` ([plugins](plugins.md)). What to do about the common
ones: [troubleshooting](troubleshooting.md).

`vdp explain REASON` prints the same. This page is written by `make docs` from `vdp/engine/reasons.def` and
`vdp/explain/drops.py`; add a reason in both, in the first at the end.
"""


def reasons() -> list[tuple[str, str]]:
    """Name and sentence of each reason, in the order of their codes; the first is "not dropped"."""
    return re.findall(r'^VDP_REASON\((\w+), "(.*)"\)$', REASONS.read_text(), re.MULTILINE)


def page() -> str:
    """The whole page."""
    rows = [f"| `{name}` | {text} | {' | '.join(DROPS[name])} |\n" for name, text in reasons()[1:]]
    return _HEAD + "".join(rows) + _TAIL


if __name__ == "__main__":
    print(page(), end="")
