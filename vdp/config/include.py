"""`include`: a configuration in several files, put together to one document that knows where each key stands.

    include = ["conf.d/*.toml"]      in the main file only; paths from its folder

Tables of which there are many (`[[port]]`) follow one another: the main file's, then those of the others
by name.  Other tables may be continued in another file, but each key is in one of them; lists, such as
`plugins.load`, are joined.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdp.config.faults import Fault, Placer, unknown_key
from vdp.config.model import ARRAY_SECTIONS, TABLE_SECTIONS, TOP_LEVEL
from vdp.config.positions import KeyPath, Positions, Span, scan
from vdp.config.problem import ConfigError, Problem, value_text
from vdp.config.syntax import syntax_problem

# Far more than any configuration, and little enough to read by mistake.
SIZE_MOST = 4 << 20
#: What a glob pattern has, and a name has not.
WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Gathered:
    """files: the main one, then those that it includes.  problems: of what could not be put in."""

    document: dict[str, Any]
    positions: Positions
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]


def gather(path: Path) -> Gathered:
    """The document of a file and of what it includes; ConfigError where the file itself can not be read."""
    text = _read(path)
    whole = _Whole(path, text, _parse(path, text))
    for file, key in whole.included():
        whole.put_in(file, key)
    return whole.gathered()


def _read(path: Path) -> str:
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(SIZE_MOST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            [Problem(file, 0, 0, "", f"can not be read: {reason}", kind="not-readable")]
        ) from None
    if len(content) > SIZE_MOST:
        raise ConfigError(
            [Problem(file, 0, 0, "", f"larger than {SIZE_MOST >> 20} MiB", kind="not-readable")]
        )
    try:
        # As tomllib.load does: text in UTF-8, CRLF is a newline.
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        problem = Problem(file, line, column, "", "not UTF-8, which TOML is", kind="not-toml")
        raise ConfigError([problem]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([syntax_problem(str(path), text, str(error))]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), 1, 1, "", "nested too deeply", kind="not-toml")]) from None
    except ValueError as error:
        # Python refuses integers of more than 4,300 digits.
        raise ConfigError([Problem(str(path), 1, 1, "", f"not TOML: {error}", kind="not-toml")]) from None


class _Whole:
    """The main file, and what was put in so far: texts one behind another, spans by key of the whole."""

    def __init__(self, path: Path, text: str, document: dict[str, Any]) -> None:
        self.path = path
        self.text = text
        self.document = document
        self.spans = dict(scan(text).spans)
        self.parts = [(0, str(path))]
        self.files = [path]
        self.known = {os.path.realpath(path)}
        self.problems: list[Problem] = []

    def gathered(self) -> Gathered:
        positions = Positions(self.text, self.spans, self.parts)
        return Gathered(self.document, positions, tuple(self.files), tuple(self.problems))

    def included(self) -> Iterator[tuple[Path, KeyPath]]:
        """The files, and the keys that name them."""
        patterns = self.document.pop("include", [])
        if not isinstance(patterns, list):
            hint = f'write ["{patterns}"]' if isinstance(patterns, str) else ""
            self._fault(Fault(("include",), "a list", value_text(patterns), hint, kind="wrong-type"))
            return
        for index, pattern in enumerate(patterns):
            key: KeyPath = ("include", index)
            if not isinstance(pattern, str) or not pattern:
                expected = "the path of a file, or of several with *"
                self._fault(Fault(key, expected, value_text(pattern), kind="wrong-type"))
                continue
            try:
                found = _matching(self.path.parent, pattern)
            except ValueError as error:  # of pathlib, such as ** beside other characters
                expected = f"a path or a pattern ({error})"
                self._fault(Fault(key, expected, value_text(pattern), kind="wrong-value"))
                continue
            if not found and not WILD & set(pattern):
                hint = f"files are looked for in {self.path.parent}"
                self._fault(
                    Fault(key, "a file that is there", value_text(pattern), hint, kind="not-readable")
                )
            yield from ((file, key) for file in found)

    def put_in(self, file: Path, key: KeyPath) -> None:
        """Read a file that `key` names, and join it; what is wrong with it is a problem of its own."""
        real = os.path.realpath(file)
        if real in self.known:
            self._fault(Fault(key, "each file once", value_text(str(file)), kind="listed-twice"))
            return
        self.known.add(real)
        self.files.append(file)
        try:
            text = _read(file)
            document = _parse(file, text)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return
        positions = scan(text)
        faults = list(self._misfits(document))
        placer = Placer(str(file), positions)
        self.problems.extend(placer.place(fault) for fault in faults)
        for fault in faults:
            _remove(document, fault.path)
        base = len(self.text) + 1
        self.text += "\n" + text
        self.parts.append((base, str(file)))
        self._adopt(document, positions, base)

    def _misfits(self, document: dict[str, Any]) -> Iterator[Fault]:
        """What of a file can not be put in."""
        for name, value in document.items():
            path: KeyPath = (name,)
            if name == "include":
                message = "only the main file includes others"
                yield Fault(
                    path, message=message, hint=f"write it in {self.path}", at_key=True, kind="contradiction"
                )
            elif name not in TOP_LEVEL:
                yield unknown_key(path, TOP_LEVEL)
            elif name in ARRAY_SECTIONS and not isinstance(value, list):
                hint = f"write [[{name}]]" if isinstance(value, dict) else ""
                yield Fault(path, f"tables [[{name}]]", value_text(value), hint, kind="wrong-shape")
            elif name in (*TABLE_SECTIONS, "plugin") and not isinstance(value, dict):
                yield Fault(
                    path, f"a table [{name}]", value_text(value), f"write [{name}]", kind="wrong-shape"
                )
            elif isinstance(value, dict):
                yield from self._twice(path, value, self.document.get(name))
            elif name == "config_version" and value != 1:
                yield Fault(path, "1", value_text(value), kind="wrong-value")

    def _twice(self, path: KeyPath, new: dict[str, Any], known: object) -> Iterator[Fault]:
        """Keys that the whole has already."""
        if not isinstance(known, dict):
            return
        for key, value in new.items():
            there, at = known.get(key), (*path, key)
            if isinstance(value, dict) and isinstance(there, dict):
                yield from self._twice(at, value, there)
            elif there is not None and not (isinstance(value, list) and isinstance(there, list)):
                positions = Positions(self.text, self.spans, self.parts)
                start = self.spans[at].key
                where = f"{positions.file_at(start)}:{positions.at(start).line}"
                yield Fault(
                    at, message="the key is in another file already", hint=f"{where} has it", at_key=True,
                    kind="key-twice",
                )  # fmt: skip

    def _adopt(self, document: dict[str, Any], positions: Positions, base: int) -> None:
        """Join the documents; lists of the new one begin where those of the whole end."""
        lengths: dict[KeyPath, int] = {}

        def join(whole: dict[str, Any], new: dict[str, Any], path: KeyPath) -> None:
            for key, value in new.items():
                there = whole.get(key)
                if isinstance(value, dict) and isinstance(there, dict):
                    join(there, value, (*path, key))
                elif isinstance(value, list) and isinstance(there, list):
                    lengths[*path, key] = len(there)
                    there.extend(value)
                elif key not in whole:
                    whole[key] = value

        join(self.document, document, ())
        for path, span in positions.spans.items():
            moved = Span(span.key + base, span.start + base, span.end + base)
            self.spans.setdefault(_shifted(path, lengths), moved)

    def _fault(self, fault: Fault) -> None:
        positions = Positions(self.text, self.spans, self.parts)
        self.problems.append(Placer(str(self.path), positions).place(fault))


def _matching(folder: Path, pattern: str) -> list[Path]:
    if not WILD & set(pattern):
        file = folder / pattern
        return [file] if file.exists() else []
    root = Path(pattern)
    if root.is_absolute():
        folder, pattern = Path(root.anchor), str(root.relative_to(root.anchor))
    # As in a shell: an editor's `.#name.toml` is no part of a configuration unless it is asked for.
    hidden = Path(pattern).name.startswith(".")
    found = (file for file in folder.glob(pattern) if hidden or not file.name.startswith("."))
    return sorted(file for file in found if not file.is_dir())


def _shifted(path: KeyPath, lengths: dict[KeyPath, int]) -> KeyPath:
    for size in range(1, len(path)):
        index = path[size]
        if path[:size] in lengths and isinstance(index, int):
            return (*path[:size], index + lengths[path[:size]], *path[size + 1 :])
    return path


def _remove(document: dict[str, Any], path: KeyPath) -> None:
    *outer, last = path
    for key in outer:
        document = document[key]  # type: ignore[index]
    document.pop(last, None)  # type: ignore[arg-type]
