"""Faults: problems before they are placed in a file; and pydantic's errors put as faults.

A fault names a key path.  `Placer` finds the path in the text and yields a
Problem.  Errors of any pydantic model are understood, those of plugins' parameter
models too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vdp.config.describe import describe
from vdp.config.nearest import nearest_hint
from vdp.config.positions import KeyPath, Positions
from vdp.config.problem import Problem, key_text, value_text


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake at `path`.  message: else made of found and expected.  at_key: its name is what is wrong.

    kind: see Problem; where it is left out, that of the check which found it.
    """

    path: KeyPath
    expected: str = ""
    found: str = ""
    hint: str = ""
    message: str = ""
    at_key: bool = False
    kind: str = ""

    def text(self) -> str:
        if self.message:
            return self.message
        return f"found {self.found}, expected {self.expected}"


class Placer:
    """Puts faults where they stand.  file: of what stands nowhere, and where positions name none."""

    def __init__(self, file: str, positions: Positions) -> None:
        self.file = file
        self.positions = positions

    def place(self, fault: Fault) -> Problem:
        span = self.positions.find(fault.path)
        file, line, column = self.file, 0, 0
        source, width = "", 1
        if span is not None:
            exact = fault.path in self.positions.spans
            start = span.key if fault.at_key or not exact else span.start
            end = span.start if fault.at_key and span.start > span.key else span.end
            position = self.positions.at(start)
            line, column = position.line, position.column
            source = self.positions.line_at(start)
            file = self.positions.file_at(start) or file
            text = self.positions.text[start:end].split("\n", 1)[0]
            width = len(text.rstrip(" =\t") if fault.at_key else text.rstrip())
        return Problem(
            file=file,
            line=line,
            column=column,
            key=key_text(fault.path),
            message=fault.text(),
            found=fault.found,
            expected=fault.expected,
            hint=fault.hint,
            source=source,
            width=width,
            kind=fault.kind,
        )


def unknown_key(path: KeyPath, names: Iterable[str]) -> Fault:
    known = list(names)
    name = str(path[-1])
    return Fault(
        path,
        expected="one of " + ", ".join(known),
        found=name,
        hint=nearest_hint(name, known) or f"keys here: {', '.join(known)}",
        message="unknown key",
        at_key=True,
        kind="unknown-key",
    )


#: How pydantic ends the location of a dictionary's key.
OF_KEY = "[key]"
_TYPE_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_BOUND_WORDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def faults_of(
    error: ValidationError,
    model: type[BaseModel],
    prefix: KeyPath,
    value: object,
    known: Iterable[str] = (),
) -> Iterator[Fault]:
    """The faults of `value`, which stands at `prefix` and which `model` refused.

    known: names that are keys of `value` beside the model's own.  The branches of
    one union become one fault.
    """
    merged: dict[KeyPath, Fault] = {}
    for details in error.errors(include_url=False):
        fault = _fault(details, model, prefix, value, list(known))
        if fault is None:
            continue
        if details["loc"][-1:] == (OF_KEY,):  # the name of an entry is what is wrong with it
            fault = replace(fault, found=value_text(details["loc"][-2]), message="", at_key=True)
        earlier = merged.get(fault.path)
        if earlier is None:
            merged[fault.path] = fault
        elif fault.expected and fault.expected not in earlier.expected:
            expected = f"{earlier.expected} or {fault.expected}"
            merged[fault.path] = replace(earlier, expected=expected, hint=earlier.hint or fault.hint)
    yield from merged.values()


def _fault(
    details: ErrorDetails, model: type[BaseModel], prefix: KeyPath, value: object, known: list[str]
) -> Fault | None:
    kind = details["type"]
    location = details["loc"]
    context: Mapping[str, Any] = details.get("ctx", {})
    inside = _inside(value, location)
    path = prefix + location[:inside]
    if kind == "missing":
        return _missing(prefix + location, _owner(model, location[:-1]), str(location[-1]))
    owner = _owner(model, location[:-1])
    name = location[-1] if location else ""
    if kind == "extra_forbidden":
        return unknown_key(path, [*known, *(owner.model_fields if owner else ())])
    if kind == "dict_type" and owner is not None and name not in owner.model_fields:
        # Extra keys of an open model must be tables: this one is a field written wrong.
        return unknown_key(path, [key for key, field in owner.model_fields.items() if field.description])
    found = value_text(_at(value, location[:inside]))
    hint = str(context.get("hint", ""))
    if kind == "vdp":
        return Fault(path, str(context["expected"]), found, hint, kind="wrong-value")
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", str(context["expected"]))
        hint = nearest_hint(str(details["input"]), choices)
        quoted = [f'"{each}"' for each in choices]
        expected = "one of " + ", ".join(quoted) if len(quoted) > 1 else str(context["expected"])
        return Fault(path, expected, found, hint, kind="wrong-value")
    if kind in _TYPE_WORDS:
        expected = _TYPE_WORDS[kind]
        return Fault(path, expected, found, _type_hint(expected, details["input"]), kind="wrong-type")
    if kind in _BOUND_WORDS:
        key, words = _BOUND_WORDS[kind]
        return Fault(path, f"{words} {context[key]}", found, kind="out-of-range")
    if kind in ("too_short", "too_long"):
        bound = context["min_length"] if kind == "too_short" else context["max_length"]
        count = len(value) if isinstance(value := _at(value, location[:inside]), list | str) else 0
        if kind == "too_short" and count >= bound:
            return None  # too few are right: those that are wrong have faults of their own
        words = "at least" if kind == "too_short" else "at most"
        entries = "entry" if count == 1 else "entries"
        return Fault(path, f"{words} {bound}", f"{count} {entries}", kind="out-of-range")
    if details["msg"].startswith("Input should be "):
        return Fault(path, details["msg"].removeprefix("Input should be "), found, kind="wrong-value")
    reason = str(context.get("error", details["msg"]))
    table = _at(value, location[:inside])
    if not isinstance(table, dict):
        return Fault(path, reason, found, message=f"found {found}: {reason}", kind="wrong-value")
    # Keys that do not go together: it stands at the first of them that the sentence names.
    owner = _owner(model, location[:inside])
    keys = table.keys() & owner.model_fields.keys() if owner else ()
    named = tuple(word for word in re.findall(r"\w+", reason) if word in keys)[:1]
    return Fault(path + named, reason, found, message=reason, at_key=bool(named), kind="contradiction")


def _missing(path: KeyPath, owner: type[BaseModel] | None, name: str) -> Fault:
    field = owner.model_fields.get(name) if owner else None
    expected = describe(field) if field else "a value"
    message = f"missing, expected {expected}"
    return Fault(
        path,
        expected,
        "nothing",
        message=message,
        hint=_example(name, field),
        at_key=True,
        kind="missing-key",
    )


def _example(name: str, field: FieldInfo | None) -> str:
    """What to write for a key that is missing."""
    if field is None:
        return ""
    if get_origin(field.annotation) is Literal:
        return f'add {name} = "{get_args(field.annotation)[0]}"'
    if field.annotation is str:
        return f'add {name} = "…"'
    is_list = get_origin(field.annotation) in (tuple, list)
    return f"add {name} = [{'…'}]" if is_list else f"add {name} = …"


def _inside(value: object, location: tuple[int | str, ...]) -> int:
    """How many parts of a location lead through `value`; pydantic appends names of its own."""
    for count, part in enumerate(location):
        entry = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not entry and not (isinstance(value, dict) and part in value):
            return count
        value = value[part]  # type: ignore[index]
    return len(location)


def _at(value: Any, location: tuple[int | str, ...]) -> object:
    for part in location:
        value = value[part]
    return value


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that holds the keys at `location` of `model`, if one does."""
    owner: Any = model
    mapping = False
    for part in location:
        if mapping:
            mapping = False  # a name in a table of tables: their model is known already
            continue
        field = owner.model_fields.get(part)
        mapping = field is not None and get_origin(field.annotation) is dict
        choices = () if field is None else (field.annotation, *get_args(field.annotation))
        owner = next(
            (each for each in choices if isinstance(each, type) and issubclass(each, BaseModel)), None
        )
        if owner is None:
            return None
    return None if mapping else owner


def _type_hint(expected: str, given: object) -> str:
    if expected == "true or false":
        word = str(given).lower()
        if word in ("true", "yes", "on", "1"):
            return "write true"
        return "write false" if word in ("false", "no", "off", "0") else ""
    if expected == "a whole number":
        if isinstance(given, str) and given.strip().isdecimal():
            return f"without quotes: {int(given)}"
        return f"write {int(given)}" if isinstance(given, float) and given.is_integer() else ""
    if expected == "a list" and isinstance(given, str):
        return f"write [{value_text(given)}]"
    if expected == "a string" and isinstance(given, int) and not isinstance(given, bool):
        return f'in quotes: "{given}"'
    return ""
