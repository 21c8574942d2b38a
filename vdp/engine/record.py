"""Values of the slow path: dataclasses that are quick to define and to make.

`@dataclass(frozen=True, slots=True)` compiles six functions for each class, a tenth of
the daemon's start, and its objects set each field by a call.  A `record` compiles one,
and nobody but mypy keeps it from being changed: three times as fast, both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass, frozen and slotted.  Fields that are given by keyword only are not compared."""
    made: Any = dataclass(slots=True, eq=False, repr=False)(cls)
    names = made.__match_args__
    made._values = staticmethod(attrgetter(*names) if names else _nothing)
    made.__eq__, made.__hash__, made.__repr__ = _equal, _hash, _show
    return made  # type: ignore[no-any-return]


def _nothing(made: object) -> tuple[()]:
    return ()


def _equal(self: Any, other: Any) -> Any:
    if self.__class__ is not other.__class__:
        return NotImplemented
    return self._values(self) == self._values(other)


def _hash(self: Any) -> int:
    return hash((self.__class__, self._values(self)))


def _show(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{self.__class__.__qualname__}({shown})"
