"""The words of a plan: what differs between two sections, and what a section is, in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from vdp.config.rules import PluginAction, RuleAction
from vdp.config.values import Masked

if TYPE_CHECKING:
    from vdp.config import LinkSection, PortSection
    from vdp.ports import Carried

#: Values before and after, by key.
Differences = dict[str, tuple[Any, Any]]


def compare(before: BaseModel | None, after: BaseModel) -> Differences:
    """Keys whose values differ, what is not said as its default."""
    if before is not None and before == after:
        return {}
    old, new = dict(before or ()), dict(after)
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


#: Keys of a link that are not its kind's, and can be changed at any time.
LINK_KEYS = ("gro", "allow_any_remote", "inner_allowed", "inner_martians")


def compare_links(before: LinkSection, after: LinkSection) -> Differences:
    found = {
        key: (getattr(before, key), getattr(after, key))
        for key in ("kind", "underlay", *LINK_KEYS)
        if getattr(before, key) != getattr(after, key)
    }
    if "kind" not in found and dict(before.options) != dict(after.options):
        found |= compare(before.parameters, after.parameters)
    return found


def words_of(differences: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} {shown(old)} -> {shown(new)}" for key, (old, new) in differences.items())


def shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {shown(each)}' for key, each in value.items())}}}"
    return shown(dict(value)) if isinstance(value, BaseModel) else str(value)


def port_text(section: PortSection) -> str:
    of = f" on {section.interface}" if section.interface else ""
    of += f" for protocol {section.protocol}" if section.protocol is not None else ""
    return section.type + of + (f" in namespace {section.netns}" if section.netns else "")


def link_text(section: LinkSection) -> str:
    ends = [f"{end} {section.options[end]}" for end in ("local", "remote") if end in section.options]
    return ", ".join((section.kind, *ends, f"over {section.underlay}"))


def carried_text(before: Carried, after: Carried) -> list[str]:
    """What its tunnels receive by, where that is something else."""
    said = []
    for word, old, new in (
        ("IP protocol", before.protocols, after.protocols),
        ("UDP port", before.ports, after.ports),
    ):
        said += [f"carries {word} {number}, too" for _, number in sorted(new - old)]
        said += [f"carries {word} {number} no more" for _, number in sorted(old - new)]
    if before.promiscuous != after.promiscuous:
        said.append(f"takes frames for {'any' if after.promiscuous else 'its own'} MAC address")
    return said


def match_text(match: BaseModel) -> str:
    words = []
    for key, value in match:
        if isinstance(value, Masked):
            value = f"{value.value.hex()}/{value.mask.hex()}"
        if value is not None:
            words.append(f"{key}={shown(value)}")
    return ",".join(words) or "any"


def action_text(action: RuleAction) -> str:
    if isinstance(action, PluginAction):
        return str(action)
    member = getattr(action, "member", "")
    word = type(action).__name__.lower()
    return f"{word}:{member}" if member else word


def plural(what: str, count: int) -> str:
    return what if count == 1 else f"{what}s"
