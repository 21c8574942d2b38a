"""The page on configuration is what the models say, and its example loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vdp.config import Config
from vdp.config.model import ARRAY_SECTIONS, TABLE_SECTIONS
from vdp.config.reference import page
from vdp.config.rules import RuleMatch

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "python -m vdp.config.reference > docs/configuration.md"


def test_every_key_has_a_row() -> None:
    for name, model in {**ARRAY_SECTIONS, **TABLE_SECTIONS}.items():
        start = page().index(f"## `[[{name}]]`" if name in ARRAY_SECTIONS else f"## `[{name}]`")
        section = page()[start:].split("\n## ", 1)[0]
        for key in model.model_fields:
            assert f"| `{key}` |" in section, (name, key)
    for key in RuleMatch.model_fields:
        assert f"`{key}`" in page() or re.fullmatch("reg[1-5]", key), key


def test_the_example_of_the_page_loads(parse: Callable[[str], Config]) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", page(), re.DOTALL)
    assert [link.name for link in parse(example).links] == ["gt1"]
