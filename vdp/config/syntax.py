"""What is no TOML, said with its place and what it usually comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vdp.config.positions import Positions
from vdp.config.problem import Problem

#: What tomllib says, as a pattern, and what people have usually done.
_CAUSES: Mapping[str, str] = {
    r"Illegal character '\\n'": "a closing quote is missing on this line",
    r"Illegal character '\\r'": "lines end with \\n or \\r\\n",
    r"Illegal character": "a control character; an editor or a copy put it there",
    r"Invalid value": "a string needs quotes, and true and false are written so",
    r"Expected '=' after a key": "write key = value; a key with blanks needs quotes",
    r"Invalid statement": "write key = value, or [table]; a comment begins with #",
    r"Expected newline or end of document": "one key = value a line; behind it only a # comment",
    r"Cannot declare .* twice": "put the keys into the table above, or write [[…]] where several may be",
    r"Cannot overwrite": "the key is in this table already",
    r"Cannot mutate immutable": "a table in braces is complete: its keys can not be added to",
    r"Unclosed array|Unclosed inline": "a closing bracket is missing",
    r"Unterminated string": 'a closing quote is missing; """ begins a text of several lines',
    r"Expected '\]": "the table's name lacks its closing bracket",
    r"Unescaped '\\'": "write \\\\, or the string in single quotes",
}


def syntax_problem(file: str, text: str, message: str) -> Problem:
    """tomllib tells the place in its words only: "… (at line 3, column 1)", "… (at end of document)"."""
    positions = Positions(text, {})
    match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if match:
        line, column = int(match[1]), int(match[2])
    else:
        end = positions.at(len(text.rstrip()))
        line, column = end.line, end.column
    words = re.sub(r" \(at [^()]*\)$", "", message)
    said = re.sub(r"\('([^']*)',?\)", r"[\1]", words)  # a key path of one part, as tomllib prints it
    return Problem(
        file,
        line,
        column,
        "",
        f"not TOML: {said[:1].lower()}{said[1:]}",
        hint=next((cause for pattern, cause in _CAUSES.items() if re.match(pattern, words)), ""),
        source=positions.line(line),
        kind="not-toml",
    )
