"""A line of the last minutes, without axes: a shape to see at a glance, with its highest value beside."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from vdp.status.history import DEPTH
from vdp.status.html import e

WIDTH, HEIGHT = 120, 28


def line(values: Sequence[float], label: str, tone: str = "calm", most: float | None = None) -> Element:
    """The newest at the right edge; what is older than the first is left blank.

    most: the height's value, else the highest there is.
    """
    top = max((*values, 0.0)) if most is None else most
    step = WIDTH / (DEPTH - 1)
    start = WIDTH - step * (len(values) - 1)
    points = [
        (start + n * step, HEIGHT - 1 - (HEIGHT - 4) * (min(value / top, 1.0) if top else 0.0))
        for n, value in enumerate(values)
    ]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    shape = []
    if len(points) > 1:
        shape = [
            e("polygon", points=f"{points[0][0]:.1f},{HEIGHT} {drawn} {WIDTH},{HEIGHT}"),
            e("polyline", points=drawn),
        ]
    return e(
        "svg", e("title", label), shape,
        class_=f"line {tone}", viewBox=f"0 0 {WIDTH} {HEIGHT}", preserveAspectRatio="none", role="img",
    )  # fmt: skip


def bar(part: float, tone: str = "calm") -> Element:
    """A share of 0 to 1, as a bar."""
    width = f"{100 * min(max(part, 0.0), 1.0):.1f}"
    return e(
        "svg", e("rect", class_="whole", width="100", height="6"),
        e("rect", class_="part", width=width, height="6"),
        class_=f"bar {tone}", viewBox="0 0 100 6", preserveAspectRatio="none", aria_hidden="true",
    )  # fmt: skip
