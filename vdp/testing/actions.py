"""An action in words: "pull 24", "require_checksum start=20 size=0 else drop tunnel_checksum" …"""

from __future__ import annotations

from dataclasses import fields

from vdp.datapath import Datapath
from vdp.engine import program as act


def say(datapath: Datapath, action: act.Action) -> str:
    """The action as a test can compare it, and a person read it."""
    match action:
        case act.Output(port):
            return f"output {datapath.member_name(port)}"
        case act.Drop(reason):
            return f"drop {datapath.drops.name(reason)}"
        case act.Pull(size):
            return f"pull {size}"
        case act.Push(data):
            return f"push {data.hex()}"
        case act.Clone(body):
            return "clone { " + "; ".join(say(datapath, each) for each in body) + " }"
    words = [action.name]
    for item in fields(action):
        value = getattr(action, item.name)
        if item.name == "otherwise":
            words.append("else " + ", ".join(say(datapath, each) for each in value))
        elif item.name != "source":
            words.append(f"{item.name}={value.hex() if isinstance(value, bytes) else value}")
    return " ".join(words)
