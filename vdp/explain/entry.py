"""One explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sort = Literal["drop reason", "configuration error", "exit code", "metric", "counter"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """means: a sentence.  cause: where it comes from.  todo: what to do, with the commands."""

    name: str
    sort: Sort
    means: str
    cause: str
    todo: str

    def as_json(self) -> dict[str, str]:
        return {
            "name": self.name,
            "sort": self.sort,
            "means": self.means,
            "cause": self.cause,
            "todo": self.todo,
        }
