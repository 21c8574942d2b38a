"""Counters that plugins have of their own: packets and bytes, by name and labels.

    sent = datapath.counters.family("audit", "sent", "Packets sent, by class.", ("egress", "dscp"))
    packet.count(sent.labels("wan0", "EF"))

The engine counts; nothing of it is Python's for a packet.  A series comes into being when it
is first asked for, also within a trace, and goes with its plugin.  `vdp plugin info` shows
them, and the metrics, as vdp_plugin_audit_sent_packets_total{egress="wan0",dscp="EF"} and
vdp_plugin_audit_sent_bytes_total.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vdp.engine.interface import Count, Engine

#: Series of one family; what is more is counted as OTHER, so that no plugin can flood a scrape.
MOST_SERIES = 1024
OTHER = "other"
_WORD = re.compile(r"[a-z][a-z0-9_]*\Z")


class Host(Protocol):
    """What counters ask of their dataplane."""

    engine: Engine

    def retire(self, counters: Iterable[int]) -> None:
        """Give engine counters back, as soon as no flow counts by them."""

    def undoable(self, undo: Callable[[], None]) -> None:
        """Something was registered: `undo` takes it back, with its plugin."""


class CounterFamily:
    """What a plugin counts under one name: a series for each combination of label values."""

    def __init__(self, plugin: str, name: str, text: str, names: Sequence[str], host: Host) -> None:
        self.plugin = plugin
        self.name = name
        self.text = text
        self.names = tuple(names)
        self._host = host
        self._series: dict[tuple[str, ...], int] = {}

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], Count]]:
        """The series by label values, with what they counted."""
        return ((values, self._host.engine.read_counter(number)) for values, number in self._series.items())

    @property
    def metric(self) -> str:
        """The metrics' name, to which _packets_total and _bytes_total are put."""
        return f"vdp_plugin_{self.plugin.replace('-', '_')}_{self.name}"

    @property
    def numbers(self) -> list[int]:
        """The engine counters of all series."""
        return list(self._series.values())

    def named(self) -> Iterator[tuple[str, int]]:
        """The engine counters of all series, by name and labels: `sent{egress="wan0",dscp="EF"}`."""
        for values, number in self._series.items():
            pairs = (f'{name}="{value}"' for name, value in zip(self.names, values, strict=True))
            yield f"{self.name}{{{','.join(pairs)}}}", number

    def labels(self, *values: str) -> int:
        """The engine counter of one series, for `packet.count`; a value for each label, in their order.

        Values that packets decide must be few: beyond 1,024 series all others are one, "other".
        """
        if len(values) != len(self.names):
            raise ValueError(f"{self.metric}: {len(values)} values for {len(self.names)} labels")
        if values not in self._series and len(self._series) >= MOST_SERIES - 1:
            values = (OTHER,) * len(self.names)
        if values not in self._series:
            self._series[values] = self._host.engine.new_counter()
            self._host.undoable(partial(self._forget, values))
        return self._series[values]

    def _forget(self, values: tuple[str, ...]) -> None:
        self._host.retire([self._series.pop(values)])


class Counters:
    """The counter families of all plugins of a dataplane."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._families: dict[str, CounterFamily] = {}

    def __iter__(self) -> Iterator[CounterFamily]:
        return iter(self._families.values())

    def family(self, plugin: str, name: str, text: str, labels: Sequence[str] = ()) -> CounterFamily:
        """A new family of a plugin; `text` is a sentence, and the metric's help.

        ValueError: a name or label that is no word, or a name that is taken.
        """
        wrong = [word for word in (plugin.replace("-", "_"), name, *labels) if not _WORD.match(word)]
        if wrong:
            raise ValueError(f"counter {name!r} of plugin {plugin!r}: {wrong[0]!r} is no word (a-z, 0-9, _)")
        made = CounterFamily(plugin, name, text, labels, self._host)
        other = self._families.get(made.metric)
        if other is not None:
            raise ValueError(f"{made.metric} is a counter of plugin {other.plugin} already")
        self._families[made.metric] = made
        self._host.undoable(partial(self._take_out, made))
        return made

    def _take_out(self, family: CounterFamily) -> None:
        del self._families[family.metric]
        self._host.retire(family.numbers)
