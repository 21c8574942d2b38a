"""Which megaflows a dump is to have, in which order: the parameters of the method `flow.dump`.

`{"name": PORT, "filter": "ip.proto=47, packets>10", "sort": "rate", "limit": 20, "rates": true}`,
each of them optional.  A filter is terms with commas between them, all of which must hold:

    field of a header   ip.proto=47, gre.key!=7     flows that looked at it, and it was that (=)
    word of the flow    in_port=tap0, plugin=gre, output=gre1, drop=no_route
    number              packets>10, bytes>=1e6, age<5, used>60, rate>1000

Rows are made a few at a time: between them the daemon does its other work.
"""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from vdp.control.errors import BAD_REQUEST, ControlError
from vdp.control.view import DatapathView, FlowCounts
from vdp.expressions.grammar import ExpressionError, Value
from vdp.expressions.layers import field_named, field_value
from vdp.header import Field, header_kinds

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

SORTS = ("packets", "bytes", "age", "used", "rate")
PARAMETERS = ("name", "filter", "sort", "limit", "rates")
#: Rates are measured over so long.
MEASURE_S = 1.0
#: Rows that are made at once: some 5 ms.
ROWS_AT_ONCE = 64

_TERM = re.compile(r"\s*([\w.-]+)\s*(!=|>=|<=|=|>|<)\s*([^,]*?)\s*(?:,|$)")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_NUMBERS = {
    "packets": "packets",
    "bytes": "bytes",
    "age": "age_s",
    "used": "idle_s",
    "rate": "packets_per_s",
    "id": "id",
    "worker": "worker",
}
_WORDS = ("in_port", "plugin", "output", "drop")


@dataclass(frozen=True, slots=True)
class FlowQuery:
    """What was asked for, checked."""

    tests: tuple[Test, ...] = ()
    sort: str = ""
    limit: int = 0  # 0: all
    rates: bool = False

    def takes(self, row: Row) -> bool:
        """Whether the flow is one of those asked for."""
        return all(test(row) for test in self.tests)


async def dump(view: DatapathView, params: dict[str, Any]) -> list[Row]:
    """The rows; ControlError for a query that can not be understood."""
    query = _query(params)
    since: FlowCounts | None = None
    if query.rates:
        since = view.flow_counts()
        await asyncio.sleep(MEASURE_S)
    rows: list[Row] = []
    for number, row in enumerate(view.dump_flows(query.sort, since)):
        if query.takes(row):
            rows.append(row)
            if len(rows) == query.limit:
                break
        if number % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
            await asyncio.sleep(0)
    return rows


def _query(params: dict[str, Any]) -> FlowQuery:
    unknown = sorted(params.keys() - set(PARAMETERS))
    if unknown:
        raise ControlError(
            BAD_REQUEST, f'no parameter is called "{unknown[0]}"', f"parameters: {', '.join(PARAMETERS)}"
        )
    name, text, sort = params.get("name"), params.get("filter", ""), params.get("sort", "")
    limit, rates = params.get("limit", 0), params.get("rates", False)
    if not isinstance(name, str | None) or not isinstance(text, str) or not isinstance(rates, bool):
        raise ControlError(BAD_REQUEST, '"name" and "filter" are strings, "rates" true or false')
    if sort and sort not in SORTS:
        raise ControlError(BAD_REQUEST, f'"sort": found {sort!r}, expected one of {", ".join(SORTS)}')
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ControlError(BAD_REQUEST, '"limit" is a number from 0 (all) on')
    try:
        terms = _terms(text)
        tests = [_test(term) for term in terms]
    except ExpressionError as error:
        raise ControlError(BAD_REQUEST, str(error), error.hint) from None
    if name is not None:
        tests.append(lambda row: bool(row["in_port"] == name))
    needs_rates = sort == "rate" or any(term.name == "rate" for term in terms)
    return FlowQuery(tuple(tests), sort, limit, rates or needs_rates)


class _Term(NamedTuple):
    name: str
    column: int
    compare: str
    value: Value


def _terms(text: str) -> list[_Term]:
    terms, at = [], 0
    while at < len(text):
        found = _TERM.match(text, at)
        if not found or not found.group(3):
            raise ExpressionError(
                f"found {text[at : at + 12]!r}, expected a field, a sign (= != > >= < <=), a value", at + 1,
                "such as ip.proto=47, packets>10",
            )  # fmt: skip
        value = Value(found.group(3), found.start(3) + 1)
        terms.append(_Term(found.group(1), found.start(1) + 1, found.group(2), value))
        at = found.end()
    return terms


def _test(term: _Term) -> Test:
    compare = _COMPARE[term.compare]
    if term.name in _NUMBERS:
        try:
            number = float(term.value.text)
        except ValueError:
            raise ExpressionError(
                f"{term.name}: found {term.value.text!r}, expected a number", term.value.column
            ) from None
        column = _NUMBERS[term.name]
        return lambda row: compare(row[column], number)
    if term.compare not in ("=", "!="):
        raise ExpressionError(f"{term.name} can be = or !=, not {term.compare}", term.column)
    is_equal = term.compare == "="
    if term.name in _WORDS:
        return lambda row: (term.value.text in _words(row, term.name)) is is_equal
    if "." not in term.name:
        known = ", ".join((*_NUMBERS, *_WORDS))
        raise ExpressionError(
            f"nothing of a flow is called {term.name!r}", term.column,
            f"there are {known}, and fields of headers such as ip.proto",
        )  # fmt: skip
    kind, item = field_named(term.name, term.column, list(header_kinds()))
    wanted = item.encode(field_value(item, term.value))
    return partial(_looked, f"{kind.__name__}.{item.name}", _placed(item, wanted), is_equal)


def _words(row: Row, name: str) -> list[str]:
    """What a flow has under one of _WORDS: several, where it has several."""
    if name == "in_port":
        return [row["in_port"]]
    if name == "plugin":
        return list(row["plugins"])
    texts = [action["text"].strip() for action in row["actions"]]
    found = [text.removeprefix(f"{name} ") for text in texts if text.startswith(f"{name} ")]
    if name == "drop":
        found += [text.rpartition(", else ")[2] for text in texts if ", else " in text]
    return found


def _placed(item: Field[Any], number: int) -> int:
    """A field's value at its place among the whole bytes that it lies in."""
    return number << -(item.start + item.width) % 8


def _looked(label: str, wanted: int, is_equal: bool, row: Row) -> bool:
    """Whether the flow looked at that field, and it was that; or, if it is not to be equal, not so."""
    guards = [
        (int(guard["mask"], 16), int(guard["value"], 16)) for guard in row["match"] if guard["field"] == label
    ]
    return any(wanted & mask == value for mask, value in guards) is is_equal
