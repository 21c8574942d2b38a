"""What `vdp rule show` says of a rule can be written into a configuration, and is the same rule."""

from __future__ import annotations

from typing import Any

import pytest

from vdp.config.model import RuleSection
from vdp.config.rules import action_word, match_words, parse_action
from vdp.forwarding.rules import compile_rule


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({}, []),
        ({"in_port": "w0"}, ["in_port=w0"]),
        ({"eth_src": "02:00:00:00:00:01"}, ["eth_src=02:00:00:00:00:01"]),
        (
            {"eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00"},
            ["eth_dst=01:00:00:00:00:00/01:00:00:00:00:00"],
        ),
        ({"eth_type": "ipv4", "ip_dst": "10.0.0.0/8"}, ["eth_type=0x0800", "ip_dst=10.0.0.0/8"]),
        ({"ip_proto": "udp", "tp_src": 67}, ["ip_proto=17", "tp_src=67"]),
        ({"reg0": "0x005a0000/0x00ff0000", "reg1": 7}, ["reg0=0x005a0000/0x00ff0000", "reg1=0x00000007"]),
        ({"gre": {"key": 42}}, ["gre.key=42"]),
    ],
)
def test_words_of_a_match(match: dict[str, Any], words: list[str]) -> None:
    section = RuleSection.model_validate({"match": match, "actions": ["drop"]})
    assert match_words(section.match) == words
    assert list(compile_rule(section).match) == words
    again: dict[str, Any] = {}
    for name, value in (word.split("=") for word in words):
        plugin, dot, key = name.partition(".")
        if dot:
            again.setdefault(plugin, {})[key] = int(value)
        else:
            again[name] = int(value, 0) if name in ("eth_type", "ip_proto", "tp_src") else value
    same = RuleSection.model_validate({"match": again, "actions": ["drop"]})
    assert match_words(same.match) == words


@pytest.mark.parametrize("word", ["drop", "flood", "normal", "output:tap0", "audit.count", "mpls.push:7"])
def test_words_of_an_action(word: str) -> None:
    assert action_word(parse_action(word)) == word
