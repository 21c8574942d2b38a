"""Packets as expressions: "eth/ip/gre(key=7)/ip/tcp(dport=80)", from the outside in.

    expression  =  layer *( "/" layer )
    layer       =  name [ "(" [ field "=" value *( "," field "=" value ) ] ")" ]  |  string
    value       =  number | address | word | string          (80, 0x50, 10.0.0.1, 2001:db8::1,
                                                              02:00:00:00:00:01, syn, "text")

This module knows the grammar; vdp.expressions.layers the names.  What is wrong is said with its
place: columns count from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VALUE = re.compile(r"[^\s,()/\"']+(?:/[0-9]+)?")
_STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")


class ExpressionError(ValueError):
    """The expression is wrong at `column`; `hint` says what would do."""

    def __init__(self, text: str, column: int, hint: str = "") -> None:
        super().__init__(f"column {column}: {text}")
        self.text = text
        self.column = column
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Value:
    """What a field is to be, as it was written."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its name, and its fields by name, with the columns of both."""

    name: str
    column: int
    fields: dict[str, tuple[Value, int]]


def parse(text: str) -> list[Layer]:
    """The layers, outermost first.  ExpressionError."""
    return _Parser(text).layers()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def layers(self) -> list[Layer]:
        found = [self._layer()]
        while self._takes("/"):
            found.append(self._layer())
        self._skip()
        if self._at < len(self._text):
            raise self._fault('"/" and another layer, or the end', "layers are written as eth/ip/udp")
        return found

    def _layer(self) -> Layer:
        self._skip()
        column = self._at + 1
        string = _STRING.match(self._text, self._at)
        if string:
            self._at = string.end()
            value = Value(string.group(1) if string.group(1) is not None else string.group(2), column)
            return Layer("payload", column, {"text": (value, column)})
        name = _NAME.match(self._text, self._at)
        if not name:
            raise self._fault("a layer", 'such as eth, ip, ip6, gre, udp, tcp, or a "text"')
        self._at = name.end()
        fields: dict[str, tuple[Value, int]] = {}
        if self._takes("("):
            while not self._takes(")"):
                if fields and not self._takes(","):
                    raise self._fault('"," or ")"')
                self._field(fields)
        return Layer(name.group(), column, fields)

    def _field(self, fields: dict[str, tuple[Value, int]]) -> None:
        self._skip()
        column = self._at + 1
        name = _NAME.match(self._text, self._at)
        if not name:
            raise self._fault("a field", "fields are written as name=value")
        if name.group() in fields:
            raise ExpressionError(f"{name.group()} is there twice", column)
        self._at = name.end()
        if not self._takes("="):
            raise self._fault(f'"=" and a value behind {name.group()}')
        self._skip()
        fields[name.group()] = self._value(), column

    def _value(self) -> Value:
        column = self._at + 1
        string = _STRING.match(self._text, self._at)
        value = string or _VALUE.match(self._text, self._at)
        if not value:
            raise self._fault("a value")
        self._at = value.end()
        if string:
            return Value(string.group(1) if string.group(1) is not None else string.group(2), column)
        return Value(value.group(), column)

    def _takes(self, sign: str) -> bool:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += 1
        return True

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _fault(self, expected: str, hint: str = "") -> ExpressionError:
        rest = self._text[self._at : self._at + 12]
        return ExpressionError(
            f"found {rest!r}, expected {expected}" if rest else f"found the end, expected {expected}",
            self._at + 1,
            hint,
        )
