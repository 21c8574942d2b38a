"""What a plugin has registered, and how that is taken back: when it fails half-way, or is unloaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack


class Registrations:
    """Ways to undo, in the order of what was done."""

    def __init__(self, owner: str = "") -> None:
        #: The plugin that registers; empty where that is nobody in particular.
        self.owner = owner
        self._undo: list[tuple[Callable[[], None], bool]] = []

    def add(self, undo: Callable[[], None], stays: bool = False) -> None:
        """Something was registered.  stays: once in use it outlives its plugin (a drop reason's code)."""
        self._undo.append((undo, stays))

    def extend(self, others: Registrations) -> None:
        """These were registered after."""
        self._undo += others._undo

    def undo(self) -> None:
        """Take back everything, last first: the attempt failed, nothing of it has been in use."""
        self._run([undo for undo, _ in self._undo])

    def take_back(self) -> None:
        """Take back, last first, what does not outlive its plugin."""
        self._run([undo for undo, stays in self._undo if not stays])

    def _run(self, undo: list[Callable[[], None]]) -> None:
        """One that raises keeps none of the others from being done."""
        self._undo = []
        with ExitStack() as stack:
            for each in undo:
                stack.callback(each)
