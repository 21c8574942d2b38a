"""The nearest of some names, for hints in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

#: What ip(8), ovs-vsctl(8) and others call it.
OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "addr": ("address",),
    "device": ("interface", "link"),
    "dev": ("interface", "link"),
    "dst": ("destination", "remote"),
    "gateway": ("next_hop",),
    "gw": ("next_hop",),
    "hwaddr": ("mac",),
    "in_key": ("ikey",),
    "ip": ("address",),
    "lladdr": ("mac",),
    "local_ip": ("local",),
    "namespace": ("netns",),
    "out_key": ("okey",),
    "ports": ("members", "port"),
    "prio": ("priority",),
    "remote_ip": ("remote",),
    "src": ("local",),
}


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that `word` was probably meant to be, or an empty string."""
    names = list(names)
    for other in OTHER_WORDS.get(word.lower(), ()):
        if other in names:
            return other
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def nearest_hint(word: str, names: Iterable[str]) -> str:
    name = nearest(word, names)
    return f'did you mean "{name}"?' if name else ""
