"""The catalogue of drop reasons: the engine's own, then those that plugins register.

A code is what the engine counts under (`vdp_port_drops`); a name is what metrics,
`vdp drop show` and `vdp explain` print; a text is one sentence for people.  The engine's
are compiled in (reasons.def); a plugin's are named plugin_<plugin>_<word>, at most eight
of them, so that no plugin can crowd out the others.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vdp.engine.native import MAX_REASONS, engine_reasons

MOST_PER_PLUGIN = 8
_WORD = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class DropReason:
    """One way to lose a packet.  `plugin` is empty for the engine's own."""

    code: int
    name: str
    text: str
    plugin: str = ""


class UnknownReason(KeyError):
    """A drop reason that nobody gives; the text says which is likely to be meant."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]!r}?" if near else "a plugin's are those of its hook vdp_drop_reasons"
        super().__init__(f"no drop reason is called {name!r}; {meant}")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError's has quotes around it


class Drops:
    """Code, name and text of each drop reason of one dataplane."""

    def __init__(self) -> None:
        self._reasons = [DropReason(code, name, text) for code, (name, text) in enumerate(engine_reasons())]
        self._by_name = {reason.name: reason for reason in self._reasons}
        #: Of plugins that are gone; their codes may be in counters for ever.
        self._retired: set[str] = set()
        #: Told how to take back what was registered, should its plugin turn out to fail.
        self.undoable: Callable[[Callable[[], None]], None] = lambda undo: None

    def __iter__(self) -> Iterator[DropReason]:
        return iter(self._reasons)

    def __len__(self) -> int:
        return len(self._reasons)

    def register(self, plugin: str, name: str, text: str) -> int:
        """The code of a plugin's own reason `name`, a word; the same again for the same text.

        ValueError: not a word, another text than before, or one reason too many.
        """
        if not _WORD.match(plugin.replace("-", "_")) or not _WORD.match(name):
            raise ValueError(f"drop reason {name!r} of plugin {plugin!r}: lower-case letters, digits, _ only")
        full = f"plugin_{plugin.replace('-', '_')}_{name}"
        known = self._by_name.get(full)
        if known is not None and full in self._retired and known.plugin == plugin:
            self._retired.discard(full)
            self._reasons[known.code] = self._by_name[full] = DropReason(known.code, full, text, plugin)
            return known.code
        if known is not None:
            if (known.plugin, known.text) != (plugin, text):
                raise ValueError(f"drop reason {full} is registered already, as {known.text!r}")
            return known.code
        mine = [each for each in self._reasons if each.plugin == plugin and each.name not in self._retired]
        if len(mine) >= MOST_PER_PLUGIN:
            raise ValueError(f"plugin {plugin!r} has {MOST_PER_PLUGIN} drop reasons already")
        if len(self._reasons) >= MAX_REASONS:
            raise ValueError(f"no more than {MAX_REASONS} drop reasons fit")
        reason = DropReason(len(self._reasons), full, text, plugin)
        self._reasons.append(reason)
        self._by_name[full] = reason
        self.undoable(self._forget_last)
        return reason.code

    def retire(self, plugin: str) -> None:
        """The plugin is gone; should it come back, its reasons may have other texts then."""
        self._retired.update(reason.name for reason in self._reasons if reason.plugin == plugin)

    def _forget_last(self) -> None:
        """What comes last is taken back first, so that codes stay what they are."""
        del self._by_name[self._reasons.pop().name]

    def code(self, name: str) -> int:
        """UnknownReason where there is no reason of that name."""
        if name not in self._by_name:
            raise UnknownReason(name, self._by_name)
        return self._by_name[name].code

    def name(self, code: int) -> str:
        """IndexError where there is no such code."""
        return self._reasons[code].name

    def text(self, code: int) -> str:
        """IndexError where there is no such code."""
        return self._reasons[code].text
