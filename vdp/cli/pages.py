"""How each answer of the daemon looks as text.

A page takes the JSON of a method (vdp.control.view says its fields) and prints it.
Imported once there is an answer to print.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from vdp.cli.text import Cell, aligned, escaped, finding_line, print_table

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], Cell]]
Page = Callable[[Any, TextIO, bool], None]  # the answer, where to, whether one thing was named


def _state(row: Row) -> str:
    return "up" if row["up"] else "down"


def _counter(name: str) -> Callable[[Row], Cell]:
    return lambda row: row["counters"].get(name, 0)


def _field(name: str) -> Callable[[Row], Cell]:
    return lambda row: row[name]


PORT_COLUMNS: Columns = {
    "name": _field("name"),
    "type": _field("type"),
    "layer": _field("packet_type"),
    "state": _state,
    "mtu": _field("mtu"),
    "device": _field("device"),
    "netns": _field("netns"),
    "ring": lambda row: row["rx_ring"] or row.get("txqueuelen"),
    "rx frames": _counter("rx_packets"),
    "rx bytes": _counter("rx_bytes"),
    "tx frames": _counter("tx_packets"),
    "tx bytes": _counter("tx_bytes"),
    "dropped": lambda row: row["counters"]["dropped"] + row["counters"]["tx_dropped"],
    "error": _field("error"),
}


def _keys(row: Row) -> str:
    """Received and sent key, as one when they are."""
    ikey, okey = row["ikey"], row["okey"]
    if ikey == okey:
        return "" if ikey is None else str(ikey)
    return f"{'-' if ikey is None else ikey}/{'-' if okey is None else okey}"


LINK_COLUMNS: Columns = {
    "name": _field("name"),
    "kind": _field("kind"),
    "layer": _field("packet_type"),
    "state": _state,
    "mtu": _field("mtu"),
    "local": _field("local"),
    "remote": _field("remote"),
    "key": _keys,
    "underlay": _field("underlay"),
    "rx packets": _counter("rx_packets"),
    "rx bytes": _counter("rx_bytes"),
    "rx errors": _counter("rx_errors"),
    "tx packets": _counter("tx_packets"),
    "tx bytes": _counter("tx_bytes"),
    "tx errors": _counter("tx_errors"),
}


def _left(row: Row) -> str:
    """A handler's state, and for how long still."""
    left = row["quarantine_left_s"]
    return str(row["state"]) if left is None else f"{row['state']} {left:.0f} s"


HANDLER_COLUMNS: Columns = {
    "list": _field("list"),
    "priority": _field("priority"),
    "name": _field("name"),
    "plugin": _field("plugin"),
    "received": lambda row: row["verdicts"]["received"],
    "reject": lambda row: row["verdicts"]["reject"],
    "drop": lambda row: row["verdicts"]["drop"],
    "error": lambda row: row["verdicts"]["error"],
    "timeout": lambda row: row["verdicts"]["timeout"],
    "seconds": _field("seconds"),
    "state": _left,
    "last error": _field("last_error"),
}


def _plugin_error(row: Row) -> str:
    """Why it did not load, or what of its timers and upcalls failed last."""
    failing = (call for call in row["calls"] if call["failures"])
    said = [f"{call['kind']} failed {call['failures']} times: {call['last_error']}" for call in failing]
    return row["error"] or "; ".join(said)


PLUGIN_COLUMNS: Columns = {
    "name": _field("name"),
    "version": _field("version"),
    "state": _field("state"),
    "distribution": _field("distribution"),
    "provides": lambda row: ", ".join(row["provides"]),
    "passed over": lambda row: ", ".join(row["passed_over"]),
    "error": _plugin_error,
}
CALL_COLUMNS: Columns = {
    "called": _field("kind"),
    "name": _field("name"),
    "times": _field("times"),
    "failures": _field("failures"),
    "state": _left,
    "last error": _field("last_error"),
}
COUNTER_COLUMNS: Columns = {
    "counter": _field("name"),
    "labels": lambda row: ",".join(f"{name}={value}" for name, value in row["labels"].items()),
    "packets": _field("packets"),
    "bytes": _field("bytes"),
}
DROP_COLUMNS: Columns = {
    "port": _field("port"),
    "reason": _field("reason"),
    "packets": _field("packets"),
    "text": _field("text"),
}
DROP_RATE_COLUMNS: Columns = {
    "port": _field("port"),
    "reason": _field("reason"),
    "packets/s": lambda row: f"{row['per_s']:.1f}",
    "packets": _field("packets"),
    "text": _field("text"),
}
MAC_COLUMNS: Columns = {
    "bridge": _field("bridge"),
    "mac": _field("mac"),
    "member": _field("member"),
    "age": lambda row: f"{row['age_s']:.0f} s",
    "held": lambda row: "moves too often" if row["held"] else "",
}


BRIDGE_COLUMNS: Columns = {
    "bridge": _field("bridge"),
    "members": lambda row: ", ".join(row["members"]),
    "ageing": lambda row: f"{row['ageing_s']:.0f} s",
    "macs": _field("macs"),
}
ROUTE_COLUMNS: Columns = {
    "destination": _field("destination"),
    "via": _field("via"),
    "next hop": _field("next_hop"),
    "metric": _field("metric"),
}
RULE_COLUMNS: Columns = {
    "priority": _field("priority"),
    "match": lambda row: " ".join(row["match"]) or "everything",
    "actions": lambda row: ", ".join(row["actions"]),
}


def table_page(columns: Columns) -> Page:
    def page(rows: Sequence[Row], stream: TextIO, named: bool) -> None:
        print_table(list(columns), [[column(row) for column in columns.values()] for row in rows], stream)

    return page


def thing_page(columns: Columns, hidden: frozenset[str] = frozenset()) -> Page:
    """A table of all; of one thing that was named, every field on a line of its own, but the hidden."""
    table = table_page(columns)

    def page(rows: Sequence[Row], stream: TextIO, named: bool) -> None:
        if not named:
            table(rows, stream, named)
        for row in rows if named else ():
            _print_fields(_fields({key: row[key] for key in row if key not in hidden}), stream)

    return page


def drop_page(rows: Sequence[Row], stream: TextIO, named: bool) -> None:
    columns = DROP_RATE_COLUMNS if rows and "per_s" in rows[0] else DROP_COLUMNS
    table_page(columns)(rows, stream, named)


def toml_page(rows: Any, stream: TextIO, named: bool) -> None:
    """What a configuration file must say to have these links: one `[[link]]` table each."""
    for number, row in enumerate(rows):
        print("\n[[link]]" if number else "[[link]]", file=stream)
        for key, value in row["config"].items():
            # Of JSON's values those that stand in a link's table are written alike in TOML.
            print(f"{key} = {json.dumps(value, ensure_ascii=False)}", file=stream)


def _fields(row: Row, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each value of a row under its dotted name; of lists of tables only how many there are."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            words = [str(each) for each in value if not isinstance(each, dict | list)]
            yield prefix + name, " ".join(words) if words or not value else f"{len(value)} of them"
        elif isinstance(value, bool):
            yield prefix + name, "yes" if value else "no"
        else:
            text = f"{value:.3f}" if isinstance(value, float) else str(value)
            yield prefix + name, "" if value is None else text


def _print_fields(fields: Iterator[tuple[str, str]], stream: TextIO) -> None:
    for line in aligned([[name, value] for name, value in fields], [False, False]):
        print(line, file=stream)


def flow_page(explain: bool) -> Page:
    """A line a flow, in the order of `ovs-appctl dpctl/dump-flows`; explained: a line a guard and action."""

    def page(rows: Sequence[Row], stream: TextIO, named: bool) -> None:
        for row in rows:
            match = [f"in_port({row['in_port']})", f"length({row['min_length']}..{row['max_length']})"]
            match += [guard["text"] for guard in row["match"]]
            actions = [action["text"] for action in row["actions"]]
            counters = (
                f"packets:{row['packets']}, bytes:{row['bytes']}, "
                f"age:{row['age_s']:.1f}s, used:{row['idle_s']:.1f}s"
            )
            if "packets_per_s" in row:
                counters += f", rate:{row['packets_per_s']:.1f}pps {row['bits_per_s']:.0f}bit/s"
            if not explain:
                line = f"{','.join(match)}, {counters}, actions:{','.join(actions)}"
                print(escaped(line), file=stream)
                continue
            print(escaped(f"flow {row['id']} of worker {row['worker']}: {counters}"), file=stream)
            print(escaped(f"  plugins {', '.join(row['plugins']) or 'none'}"), file=stream)
            steps: list[list[Cell]] = [["  match", text, ""] for text in match[:2]]
            steps += [["  match", guard["text"], guard["source"]] for guard in row["match"]]
            steps += [["  action", action["text"], action["source"]] for action in row["actions"]]
            for line in aligned(steps, [False] * 3):
                print(line, file=stream)

    return page


def overload_text(overload: Row) -> str:
    """What is done without now, and what was before."""
    taken = [f"{step['step']}: {step['effect']}" for step in overload["steps"] if step["taken"]]
    before = ", ".join(f"{step['step']} {step['count']}" for step in overload["steps"] if step["count"])
    return ("; ".join(taken) or "none") + (f" (steps taken since the start: {before})" if before else "")


def status_page(status: Row, stream: TextIO, named: bool) -> None:
    """Figures, and what is wrong now, the worst first."""

    def total(name: str) -> int:
        return sum(worker[name] for worker in status["workers"])

    lookups, previous, table = total("lookups"), total("previous_hits"), total("table_hits")
    flows, upcalls = status["flows"], status["upcalls"]["total"]
    summary = {
        "flows": f"{total('flows')} of {flows['limit']}, {flows['inserts']} installed",
        "lookups": f"{lookups}: {previous} previous flow, {table} table, {lookups - previous - table} missed",
        "upcalls": ", ".join(f"{count} {reason}" for reason, count in upcalls.items()),
        "overload": overload_text(status["overload"]),
    }
    plain = {key: value for key, value in status.items() if not isinstance(value, list | dict)}
    _print_fields(_fields({**plain, **summary}), stream)
    if "findings" not in status:  # nobody knows
        return
    print(file=stream)
    for row in status["findings"]:
        line = finding_line(row["subject"], row["sentence"], row["command"])
        print(escaped(f"{row['severity']}: {line}"), file=stream)
    if not status["findings"]:
        print("nothing is wrong", file=stream)


def print_json(answer: object, stream: TextIO) -> None:
    json.dump(answer, stream, indent=2)
    stream.write("\n")


PAGES: Mapping[str, Page] = {
    "port.show": thing_page(PORT_COLUMNS),
    "link.show": thing_page(LINK_COLUMNS, frozenset({"config"})),
    "flow.dump": flow_page(explain=False),
    "handler.list": table_page(HANDLER_COLUMNS),
    "plugin.list": table_page(PLUGIN_COLUMNS),
    **dict.fromkeys(("handler.enable", "handler.disable"), table_page(HANDLER_COLUMNS)),
    **dict.fromkeys(
        ("plugin.load", "plugin.unload", "plugin.reload", "plugin.enable"), table_page(PLUGIN_COLUMNS)
    ),
    "drop.show": drop_page,
    "route.show": table_page(ROUTE_COLUMNS),
    "rule.show": table_page(RULE_COLUMNS),
    "bridge.show": table_page(BRIDGE_COLUMNS),
    "bridge.macs": table_page(MAC_COLUMNS),
    "status": status_page,
}
