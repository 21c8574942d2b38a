"""The JSON Schema of configurations, made from the models: editors complete and check by it.

It is less strict than `vdp check`: what depends on other tables, and the form of addresses, is not
in it.  Link tables are those of the kinds that the loaded plugins have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vdp.config.model import ARRAY_SECTIONS, TABLE_SECTIONS, LinkKindInfo, LinkSection

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema(kinds: Mapping[str, LinkKindInfo], settings: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """The schema of a whole file.  settings: the models of the plugins' own tables."""
    sections = {**ARRAY_SECTIONS, **TABLE_SECTIONS}
    models: list[type[BaseModel]] = [*sections.values(), *settings.values()]
    models += [info.parameters for info in kinds.values()]
    references, whole = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Any] = whole.get("$defs", {})

    def of(model: type[BaseModel]) -> dict[str, Any]:
        return dict(references[model, "validation"])

    def table(model: type[BaseModel]) -> dict[str, Any]:
        return definitions[of(model)["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]

    properties: dict[str, Any] = {
        "config_version": {"const": 1, "description": "the version of this format"},
        "include": {
            "type": "array",
            "items": {"type": "string"},
            "description": "other files to put in, such as conf.d/*.toml",
        },
    }
    for name, model in ARRAY_SECTIONS.items():
        properties[name] = {"type": "array", "items": of(model)}
    properties |= {name: of(model) for name, model in TABLE_SECTIONS.items()}
    properties["plugin"] = {
        "type": "object",
        "description": "plugins' own tables",
        "properties": {name: of(model) for name, model in settings.items()},
    }
    links = [_link(kind, table(LinkSection), table(info.parameters)) for kind, info in kinds.items()]
    if links:
        properties["link"]["items"] = {"oneOf": links}
    whole_file: dict[str, Any] = _untitled(
        {
            "$schema": DRAFT,
            "description": "a configuration of vdp",
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            "$defs": dict(sorted(definitions.items())),
        }
    )
    return whole_file


def _untitled(part: Any) -> Any:
    """Without the titles that pydantic makes of names: they say nothing more, and are half of it."""
    if isinstance(part, list):
        return [_untitled(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: _untitled(each) for key, each in part.items() if key != "title" or not isinstance(each, str)}


def _link(kind: str, common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A link table of one kind: the keys that all have, and its own."""
    named = {"kind": {"const": kind, "description": common["properties"]["kind"]["description"]}}
    return {
        "type": "object",
        "description": f"a link of kind {kind}",
        "additionalProperties": False,
        "properties": {**common["properties"], **own.get("properties", {}), **named},
        "required": sorted({*common.get("required", ()), *own.get("required", ())}),
    }
