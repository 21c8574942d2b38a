"""The scanner sees the keys that tomllib sees, and puts them where they are."""

from __future__ import annotations

import math
import random
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vdp.config.positions import KeyPath, Position, scan

KEYS = ["a", "b", "port", "mtu", "x-y", "7", "éa", "", "a.b", 'q"', "t\tb", "#", "[z]", "1.5"]
SCALARS = [
    "1", "-17", "0xBEEF", "1_000", "3.14", "1e6", "inf", "true", "false",
    "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "1979-05-27", "07:32:00.5",
    '""', '"a b"', '"# [no] = 1"', r'"q\" \\ \u00e9"', "''", r"'C:\dir'", "'# \"'",
    '"""a"""', '"""\nline\n# two = 2\n\n[x]"""', '"""he said ""hi"" """', '"""quoted"""""', r'"""\""""',
    "'''lit\n[[b]]\n'''", "''''two'''''", '"""\\\n   joined"""',
]  # fmt: skip


class Writer:
    """Writes TOML at random; what comes out may still be refused by tomllib (keys twice)."""

    def __init__(self, source: random.Random) -> None:
        self.source = source

    def blank(self) -> str:
        return self.source.choice(["", "", "", " ", "  ", "\t"])

    def gap(self) -> str:
        """What may stand between entries of an array, and between statements."""
        return self.source.choice(["", " ", "\n", "\n  ", " # c ], } = 'x\n", '\n\t# "\n', "\n\n"])

    def part(self) -> str:
        key = self.source.choice(KEYS)
        plain = key.isascii() and key and all(c.isalnum() or c in "-_" for c in key)
        style = self.source.randrange(3)
        if plain and style < 2:
            return key
        if style == 1 and "'" not in key and "\t" not in key:
            return f"'{key}'"
        return '"' + key.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'

    def key(self) -> str:
        parts = [self.part() for _ in range(self.source.choice([1, 1, 1, 1, 2, 3]))]
        text = parts[0]
        for part in parts[1:]:
            text += self.blank() + "." + self.blank() + part
        return text

    def value(self, depth: int = 0) -> str:
        choice = self.source.random()
        if depth > 3 or choice < 0.7:
            return self.source.choice(SCALARS)
        if choice < 0.85:
            text = "["
            count = self.source.randrange(4)
            for index in range(count):
                text += self.gap() + self.value(depth + 1) + self.gap()
                if index < count - 1 or self.source.random() < 0.3:
                    text += ","
            return text + self.gap() + "]"
        pairs = [self.pair(depth + 1) for _ in range(self.source.randrange(4))]
        return "{" + self.blank() + ",".join(pairs) + self.blank() + "}"

    def pair(self, depth: int = 0) -> str:
        b = self.blank
        return f"{b()}{self.key()}{b()}={b()}{self.value(depth)}{b()}"

    def document(self) -> str:
        text = self.gap()
        arrays: list[str] = []
        for _ in range(self.source.randrange(12)):
            choice = self.source.random()
            b = self.blank
            if choice < 0.6:
                text += self.pair()
            else:
                key = self.key()
                if (
                    arrays and self.source.random() < 0.5
                ):  # into the last table of an array, or one more of it
                    key = self.source.choice([*arrays, f"{self.source.choice(arrays)}.{key}"])
                if choice < 0.8:
                    text += f"{b()}[{b()}{key}{b()}]{b()}"
                else:
                    text += f"{b()}[[{b()}{key}{b()}]]{b()}"
                    arrays.append(key)
            text += self.source.choice(["\n", " # end\n", "\n\n"]) + self.blank()
        return text


def flatten(value: Any, path: KeyPath = ()) -> dict[KeyPath, Any]:
    found: dict[KeyPath, Any] = {path: value} if path else {}
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        found |= flatten(entry, (*path, key))
    return found


def same(a: object, b: object) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def check(text: str) -> bool:
    """Compare scanner and tomllib on one text; False when it is not TOML."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    positions = scan(text)
    values = flatten(document)
    assert positions.spans.keys() == values.keys(), text
    for path, value in values.items():
        span = positions.spans[path]
        if not isinstance(value, dict | list):
            assert same(tomllib.loads("x = " + text[span.start : span.end])["x"], value), (path, text)
        if isinstance(path[-1], str) and text[span.key] != "[":
            name = text[span.key :]
            assert name[0] in "\"'" or name.startswith(path[-1]), (path, text)
    return True


def test_the_scanner_finds_the_keys_that_tomllib_finds() -> None:
    seed = 20240607
    valid = sum(check(Writer(random.Random(seed + n)).document()) for n in range(4000))
    assert valid > 1000, "the writer must write TOML often enough to say something"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([*SCALARS, *KEYS, "=", ",", "[", "]", "{", "}", "\n", ".", " "]), max_size=14)
)
def test_any_accepted_text_is_scanned(parts: list[str]) -> None:
    check("".join(parts))


def test_lines_and_columns_are_those_an_editor_shows() -> None:
    positions = scan('# é\n[[port]]\nname = "é"\n  mtu\t= 70000  # much\nlist = [\n  1,\n  22,\n]\n')

    def of(*path: str | int) -> tuple[Position, Position]:
        span = positions.spans[path]
        return positions.at(span.key), positions.at(span.start)

    assert of("port", 0) == (Position(2, 1), Position(2, 1))
    assert of("port", 0, "mtu") == (Position(4, 3), Position(4, 9))
    assert of("port", 0, "list", 1) == (Position(7, 3), Position(7, 3))
    assert positions.line(4) == "  mtu\t= 70000  # much"
    assert positions.line(99) == ""


def test_a_missing_key_is_placed_at_the_table_around_it() -> None:
    positions = scan("[a.b]\nc = 1\n")
    assert positions.find(("a", "b", "d", 0)) == positions.spans[("a", "b")]
    assert positions.find(("z",)) is None


def test_a_header_below_an_array_belongs_to_its_last_table() -> None:
    spans = scan("[[a]]\n[[a]]\n[a.b]\nc = 1\n[[a.d]]\n[[a.d]]\ne = 1\n").spans
    assert ("a", 1, "b", "c") in spans
    assert ("a", 1, "d", 1, "e") in spans
    assert ("a", 0, "b") not in spans
