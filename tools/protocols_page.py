"""docs/protocols.md, written from the built-in plugins: `python -m tools.protocols_page > docs/protocols.md`.

Each plugin's section is its module's docstring, then the tables of its link kinds and settings.
A test holds the page to what this prints.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from vdp.config.describe import describe
from vdp.loader import Plugins

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"

_HEAD = """\
# Protocols

The built-in plugins: what they carry, and the keys of their links and settings. A plugin works when
`[plugins] load` names it. Keys that every link has (`name`, `kind`, `underlay`) are in
[configuration](configuration.md#link).

This page is written by `make docs` from the plugins' own text.
"""


def built_in() -> list[str]:
    """The plugins of this distribution."""
    return sorted(tomllib.loads(_PROJECT.read_text())["project"]["entry-points"]["vdp"])


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    value = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required() or value is PydanticUndefined:
        return "required"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None or isinstance(value, BaseModel | dict | list | tuple):
        return ""
    return f"`{value}`"


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | takes | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        yield f"| `{name}` | {describe(field)} | {_default(model, name)} | {field.description or ''} |"


def _section(plugins: Plugins, name: str) -> Iterator[str]:
    module = plugins.infos[name].module
    assert module is not None
    title, _, rest = (module.__doc__ or "").strip().partition("\n")
    yield from (f"## {name}", "", title, "")
    if rest.strip():
        yield from ("```text", rest.strip("\n"), "```", "")
    shown: dict[type[BaseModel], str] = {}
    for kind in plugins.kinds_of[name]:
        model = plugins.kinds[kind].parameters
        yield f'A `[[link]]` of `kind = "{kind}"`'
        if model in shown:
            yield from (f"takes the same keys as `{shown[model]}`.", "")
        else:
            yield from ("takes:", "", *_table(model), "")
            shown[model] = kind
    settings = plugins.settings().get(name)
    if settings is not None and settings.model_fields:
        yield from (f"`[plugin.{name}]` takes:", "", *_table(settings), "")
        for key, field in settings.model_fields.items():
            if get_origin(field.annotation) is dict:  # a table of tables, by name
                model = get_args(field.annotation)[1]
                yield from (f"`[plugin.{name}.{key}.NAME]` takes:", "", *_table(model), "")


def page() -> str:
    """The whole page."""
    plugins = Plugins()
    plugins.load(built_in(), strict=True)
    lines = [line for name in built_in() for line in _section(plugins, name)]
    return _HEAD + "\n" + "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
