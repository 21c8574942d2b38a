"""Every name that can be explained, and its explanation."""

from __future__ import annotations

from collections.abc import Iterator

from vdp.explain.configuration import CONFIGURATION
from vdp.explain.counters import COUNTERS
from vdp.explain.drops import DROPS
from vdp.explain.entry import Explanation
from vdp.explain.metrics import advice
from vdp.metrics.catalogue import CATALOGUE


def names() -> Iterator[tuple[str, str]]:
    """Sort and name of all, in the order in which they are listed."""
    yield from (("drop reason", name) for name in DROPS if name != "none")
    yield from (("configuration error", name) for name in CONFIGURATION)
    yield from (("metric", metric.name) for metric in CATALOGUE)
    yield from (("counter", name) for name in COUNTERS)


def explanation(name: str) -> Explanation | None:
    """That of a name, None where there is none."""
    if name in DROPS:
        return _drop(name)
    if name in CONFIGURATION:
        return Explanation(name, "configuration error", *CONFIGURATION[name])
    if name in COUNTERS:
        return Explanation(name, "counter", *COUNTERS[name])
    for metric in CATALOGUE:
        if metric.name == name:
            labels = f" Labels: {', '.join(metric.labels)}." if metric.labels else ""
            return Explanation(name, "metric", f"{metric.help} A {metric.type}.{labels}", *advice(name))
    return None


def _drop(name: str) -> Explanation:
    # The sentence is compiled into the engine, which takes a moment to be imported.
    from vdp.engine.native import engine_reasons

    text = dict(engine_reasons())[name]
    return Explanation(name, "drop reason", f"{text[:1].upper()}{text[1:]}.", *DROPS[name])
