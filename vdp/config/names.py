"""Names of links and ports in plugins' own tables, which must be there.

A settings model says by its types which values are such names: `LinkName`, `PortName`, also in
lists and as the keys of a table of tables, `dict[LinkName, …]`.  vdp.config.checks asks `named_in`
for all of them, once the whole file is read.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from vdp.config.positions import KeyPath
from vdp.config.values import Kind


@dataclass(frozen=True, slots=True)
class NameOf:
    """Marks a string as the name of an entry of that section."""

    section: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that stands at `path` of a model's table; at_key: as the name of a table there."""

    path: KeyPath
    name: str
    section: str
    at_key: bool = False


LinkName = Annotated[str, NameOf("link"), Kind("the name of a link")]
PortName = Annotated[str, NameOf("port"), Kind("the name of a port")]


def named_in(model: BaseModel, path: KeyPath = ()) -> Iterator[Reference]:
    """Every name in it, as far as its types say that they are ones."""
    for key, field in type(model).model_fields.items():
        if key in model.model_fields_set:  # a default is not the user's, and has no place
            yield from _named(getattr(model, key), field.annotation, field.metadata, (*path, key))


def _named(value: Any, annotation: Any, metadata: list[Any], path: KeyPath) -> Iterator[Reference]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _named(value, arguments[0], [*arguments[1:], *metadata], path)
    elif isinstance(value, BaseModel):
        yield from named_in(value, path)
    elif origin in (Union, types.UnionType):
        for each in arguments:
            yield from _named(value, each, metadata, path)
    elif isinstance(value, Mapping) and len(arguments) == 2:
        for name, entry in value.items():
            for found in _named(name, arguments[0], [], (*path, str(name))):
                yield Reference(found.path, found.name, found.section, at_key=True)
            yield from _named(entry, arguments[1], [], (*path, str(name)))
    elif isinstance(value, list | tuple) and arguments:
        for place, entry in enumerate(value):
            yield from _named(entry, arguments[0], [], (*path, place))
    elif isinstance(value, str):
        yield from (Reference(path, value, each.section) for each in metadata if isinstance(each, NameOf))
