"""What a field of a model takes, in words: for messages and for the manual."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vdp.config.values import Kind

_PLAIN = {int: "a whole number", str: "a string", bool: "true or false", float: "a number"}


def describe(field: FieldInfo) -> str:
    """The words for what `field` takes, such as "a whole number from 68 to 65535"."""
    return _annotation(field.annotation, list(field.metadata))


def _annotation(annotation: Any, metadata: list[Any]) -> str:
    for item in metadata:
        if isinstance(item, Kind):
            return item.text
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotation(arguments[0], [*arguments[1:], *metadata])
    if origin is Literal:
        return "one of " + ", ".join(
            f'"{value}"' if isinstance(value, str) else str(value) for value in arguments
        )
    if origin in (Union, types.UnionType):
        words = [_annotation(each, metadata) for each in arguments if each is not types.NoneType]
        return " or ".join(dict.fromkeys(words))
    if origin is tuple or origin is list:
        return f"a list, each {_annotation(arguments[0], [])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "a table"
    return _PLAIN.get(annotation, "a value") + _bounds(metadata)


def _bounds(metadata: list[Any]) -> str:
    least = next((item.ge for item in metadata if isinstance(item, annotated_types.Ge)), None)
    most = next((item.le for item in metadata if isinstance(item, annotated_types.Le)), None)
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f", at least {least}"
    return f", at most {most}" if most is not None else ""
