"""The nearest of some names, for hints in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that `word` was probably meant to be, or an empty string."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def nearest_hint(word: str, names: Iterable[str]) -> str:
    name = nearest(word, names)
    return f'did you mean "{name}"?' if name else ""
