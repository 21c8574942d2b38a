"""What a plugin's module must be, before anything of it is called."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from vdp import hookspecs

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("vdp_"))


def contract_broken(module: types.ModuleType) -> str:
    """What is wrong with it, as the end of a sentence that begins with the plugin's name; else empty."""
    wanted, version = hookspecs.API_VERSION, getattr(module, "vdp_api", None)
    if version is None:
        return f"does not say vdp_api = {wanted}, the API it is made for"
    if version != wanted:
        is_newer = isinstance(version, int) and version > wanted
        needed = "a newer vdp" if is_newer else "a newer version of the plugin"
        return f"is made for API version {version!r}; this vdp has {wanted}: {needed} is needed"
    model = getattr(module, "vdp_settings", BaseModel)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return f"is no plugin: its vdp_settings is a {type(model).__name__}, not a pydantic model"
    for name in HOOKS:
        if inspect.iscoroutinefunction(getattr(module, name, None)):
            return f"is no plugin: its {name} is a coroutine function, and hooks are not awaited: make a task"
    return ""


def mapping(hook: str, answer: Any) -> dict[str, Any]:
    """What a hook gives that gives words; TypeError for what is none.  Without the hook: none."""
    if answer is None:
        return {}
    if not isinstance(answer, Mapping):
        raise TypeError(f"{hook} gives a {type(answer).__name__}, not a mapping")
    return dict(answer)
