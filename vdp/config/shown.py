"""A configuration as text again: what a file says, or what is in force, and where each value is from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from vdp.config.checks import takes
from vdp.config.model import (
    ARRAY_SECTIONS,
    TABLE_SECTIONS,
    Config,
    LinkSection,
    NoParameters,
    PortSection,
)
from vdp.config.positions import KeyPath

#: Behind a value, how far to the right its origin stands.
COLUMN = 48


def toml_value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    text = json.dumps(str(value), ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)


def _as_read(value: Any) -> Any:
    """A value as it comes out of a file."""
    return tomllib.loads(f"value = {toml_value(value)}")["value"]


def _may_be_written(model: type[BaseModel], written: Mapping[str, Any], key: str, value: Any) -> bool:
    """Some keys are refused beside others, or without them, even with the value that they have anyway."""
    try:
        model.model_validate({**written, key: _as_read(value)})
    except ValidationError:
        return False
    return True


def shown(
    config: Config, document: Mapping[str, Any], *, effective: bool = False, origin: bool = False
) -> Iterator[str]:
    """The lines of it.  effective: defaults too.  origin: a comment with file and line, or "default"."""

    def line(path: KeyPath, key: str, value: Any, given: bool) -> str:
        text = f"{key} = {toml_value(value)}"
        return f"{text:<{COLUMN}} # {config.where(*path, key) if given else 'default'}" if origin else text

    def table(path: KeyPath, raw: Mapping[str, Any], *models: type[BaseModel]) -> Iterator[str]:
        for key, value in raw.items():
            yield line(path, key, value, True)
        for model in models if effective else ():
            written = {key: value for key, value in raw.items() if key in model.model_fields}
            for key, field in model.model_fields.items():
                value = None if field.is_required() else field.get_default(call_default_factory=True)
                if key in raw or value is None or value is PydanticUndefined or isinstance(value, BaseModel):
                    continue
                if model is PortSection and not takes(raw, key):
                    continue
                if not _may_be_written(model, written, key, value):
                    continue
                written[key] = _as_read(value)
                yield line(path, key, value, False)

    if "config_version" in document or effective:
        given = "config_version" in document
        yield line((), "config_version", document.get("config_version", 1), given)
    for name, model in ARRAY_SECTIONS.items():
        for index, raw in enumerate(document.get(name, ())):
            own = config.links[index].parameters if model is LinkSection else NoParameters()
            yield from ("", f"[[{name}]]")
            yield from table((name, index), raw, model, type(own))
    for name, model in TABLE_SECTIONS.items():
        if name in document or effective:
            yield from ("", f"[{name}]")
            yield from table((name,), document.get(name, {}), model)
    tables = document.get("plugin", {})
    for name in dict.fromkeys([*tables, *(config.plugin if effective else ())]):
        yield from ("", f"[plugin.{name}]")
        models = [type(config.plugin[name])] if name in config.plugin else []
        yield from table(("plugin", name), tables.get(name, {}), *models)
