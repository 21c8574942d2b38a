"""Actions of rules that plugins give: `PLUGIN.WORD:ARGUMENT` is made once here, to see whether it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vdp.config.faults import Fault
from vdp.config.model import RuleSection
from vdp.config.nearest import nearest_hint
from vdp.config.positions import KeyPath
from vdp.config.rules import PluginAction

#: What makes an action, by PLUGIN.WORD (vdp.hookspecs.vdp_actions).
ActionMakers = Mapping[str, Callable[[str], Any]]


def plugin_action_faults(rules: Mapping[int, RuleSection], makers: ActionMakers) -> Iterator[Fault]:
    """Actions that no loaded plugin has, or whose argument it refuses."""
    for index, rule in rules.items():
        for place, action in enumerate(rule.actions):
            if isinstance(action, PluginAction):
                yield from _faults(action, makers, ("rule", index, "actions", place))


def _faults(action: PluginAction, makers: ActionMakers, path: KeyPath) -> Iterator[Fault]:
    found = f'"{action}"'
    maker = makers.get(action.name)
    if maker is None:
        known = ", ".join(sorted(makers)) or "none"
        hint = nearest_hint(action.name, makers) or f"there is: {known}; is the plugin in plugins.load?"
        yield Fault(path, "an action of a loaded plugin", found, hint, kind="unknown-action")
        return
    try:
        maker(action.argument)
    except ValueError as error:
        sentence = f"found {found}, {' '.join(str(error).split())}"
        yield Fault(path, found=found, message=sentence, kind="unknown-action")
    except Exception as error:
        sentence = f"{action.name} failed to be made of {action.argument!r}: {type(error).__name__}: {error}"
        yield Fault(path, found=found, message=" ".join(sentence.split()), kind="unknown-action")
