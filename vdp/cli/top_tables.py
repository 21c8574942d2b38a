"""What `vdp top` shows, as tables: the same for the live screen and for plain text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vdp.cli.text import Cell, finding_line
from vdp.control.view import FlowRow, MatchRow
from vdp.status.history import History
from vdp.status.sample import NOTHING, Flow, is_outside
from vdp.status.words import ago, bits, rate, short

#: Of what may be as long as it likes.
WIDTH_MOST = 100
#: A flow table may be large: of more than these nobody is asked.
FLOWS_MOST = 200


class Table(NamedTuple):
    """rows: cells by column, the busiest first.  order: what each row is sorted by, column by column."""

    name: str
    heads: Sequence[str]
    rows: list[list[Cell]]
    order: list[list[float | str]]
    empty: str


class _Column(NamedTuple):
    head: str
    text: str
    order: float | str


def _table(name: str, empty: str, lines: list[tuple[float, list[_Column]]]) -> Table:
    """lines: how busy each is, and its columns."""
    sorted_lines = [columns for _, columns in sorted(lines, key=lambda line: -line[0])]
    heads = [column.head for column in sorted_lines[0]] if sorted_lines else []
    return Table(
        name,
        heads,
        [[column.text for column in columns] for columns in sorted_lines],
        [[column.order for column in columns] for columns in sorted_lines],
        empty,
    )


def _word(head: str, text: str | None) -> _Column:
    return _Column(head, text or "-", text or "")


def _number(head: str, value: float, say: Callable[[float], str] = short) -> _Column:
    return _Column(head, say(value), value)


def _both_ways(flow: Flow) -> list[_Column]:
    return [
        _number("rx", flow.received, rate),
        _number("rx bits", flow.received_bytes, bits),
        _number("tx", flow.sent, rate),
        _number("tx bits", flow.sent_bytes, bits),
    ]


def _busy(flow: Flow) -> float:
    return flow.received_bytes + flow.sent_bytes


def ports(history: History) -> Table:
    lines = []
    for name, row in history.now.ports.items():
        if not is_outside(row):
            continue
        flow = history.rates.ports.get(name, NOTHING)
        dropped = sum(value for (port, _), value in history.rates.drops.items() if port == name)
        state = ("error" if row["error"] else "up") if row["up"] else "down"
        columns = [_word("port", name), _word("type", row["type"]), _word("state", state), *_both_ways(flow)]
        lines.append(
            (_busy(flow), [*columns, _number("dropped", dropped, rate), _number("lost", row["kernel_drops"])])
        )
    return _table("ports", "There are no ports.", lines)


def links(history: History) -> Table:
    lines = []
    now = history.now
    for name, row in now.links.items():
        flow = history.rates.links.get(name, NOTHING)
        errors = row["counters"].get("rx_errors", 0) + row["counters"].get("tx_errors", 0)
        silent = now.at - history.heard[name] if name in history.heard else None
        heard = "now" if flow.received else f"{ago(silent)} ago" if silent is not None else "not yet"
        columns = [
            _word("link", name),
            _word("kind", row["kind"]),
            _word("state", "up" if row["up"] else "down"),
            _word("remote", row["remote"] or "any"),
            *_both_ways(flow),
            _Column("heard", heard, silent if silent is not None else float("inf")),
            _number("errors", errors),
        ]
        lines.append((_busy(flow), columns))
    return _table("links", "There are no links.", lines)


def drops(history: History) -> Table:
    lines = []
    for key, row in history.now.drops.items():
        now = history.rates.drops.get(key, 0.0)
        columns = [
            _word("reason", row["reason"]), _word("port", row["port"]), _number("now", now, rate),
            _number("total", row["packets"]), _word("what", row["text"]),
        ]  # fmt: skip
        lines.append((now + row["packets"] * 1e-12, columns))
    return _table("drops", "Nothing was dropped.", lines)


def handlers(history: History) -> Table:
    lines = []
    for place, row in enumerate(history.now.handlers):
        verdicts = row["verdicts"]
        columns = [
            _word("place", f"{row['list']}/{row['priority']}"), _word("handler", row["name"]),
            _word("plugin", row["plugin"]), _word("state", row["state"]),
            *(_number(name, verdicts[name]) for name in ("received", "reject", "drop")),
            _number("failed", verdicts["error"] + verdicts["timeout"]),
            _number("python", row["seconds"], lambda seconds: f"{seconds:.2f} s"),
            _word("last error", row["last_error"]),
        ]  # fmt: skip
        lines.append((-float(place), columns))
    return _table("handlers", "There are no handlers.", lines)


class Flows:
    """Megaflows and their rates, asked for now and then."""

    def __init__(self, dump: Callable[[], Sequence[FlowRow]]) -> None:
        self._dump = dump
        self._rows: Sequence[FlowRow] = ()

    def take(self) -> None:
        """Ask; raises what `dump` does."""
        self._rows = self._dump()

    def table(self) -> Table:
        """The busiest first."""
        lines = []
        for row in self._rows:
            packets, octets = row.get("packets_per_s", 0.0), row.get("bits_per_s", 0.0) / 8
            fate = row["actions"][-1]["text"] if row["actions"] else ""
            columns = [
                _word("in port", row["in_port"]), _word("fate", fate), _number("now", packets, rate),
                _number("bits", octets, bits), _number("packets", row["packets"]),
                _number("age", row["age_s"], ago), _number("used", row["idle_s"], ago),
                _word("match", cut(" ".join(match["text"] for match in row["match"] if _says(match)))),
            ]  # fmt: skip
            lines.append((octets + row["packets"] * 1e-12, columns))
        return _table("flows", "No flow is known.", lines)


def _says(match: MatchRow) -> bool:
    """Whether a guard tells flows apart for people: what only says where headers begin does not."""
    return not match["field"].startswith("meta") and not match["field"].endswith((".version", ".ihl"))


def cut(text: str, most: int = WIDTH_MOST) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def headline(history: History) -> str:
    """Everything in a line, or two."""
    found, status = history.rates, history.now.status
    hits = "-" if found.hit_ratio is None else f"{found.hit_ratio:.1%}"
    through = found.through
    facts = [
        f"rx {rate(through.received)} {bits(through.received_bytes)}",
        f"tx {rate(through.sent)} {bits(through.sent_bytes)}",
        f"dropped {rate(found.dropped)}",
        f"busiest worker {found.busy:.0%}",
        f"known flows {hits}",
        f"upcalls {rate(found.upcalls)}",
        f"up {ago(status['uptime_s'])}",
    ]
    return " | ".join(facts)


def wrong(history: History) -> list[tuple[str, str]]:
    """What is wrong now, by severity, in lines."""
    found = history.findings()
    return [(each.severity, finding_line(each.subject, each.sentence, each.command)) for each in found]
