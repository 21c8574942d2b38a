"""vdp.drops: the engine's reasons and the plugins'."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from vdp.drops import MOST_PER_PLUGIN, Drops
from vdp.engine.native import MAX_REASONS


def test_the_engine_s_reasons_are_those_of_reasons_def() -> None:
    text = resources.files("vdp.engine").joinpath("reasons.def").read_text()
    written = re.findall(r'^VDP_REASON\((\w+), "(.*)"\)$', text, re.M)
    assert [(reason.name, reason.text) for reason in Drops()] == written
    assert Drops().name(0) == "none"
    assert Drops().code("tunnel_no_link") == [name for name, _ in written].index("tunnel_no_link")


def test_a_plugin_s_reason_carries_the_plugin_s_name() -> None:
    drops = Drops()
    before = len(drops)
    code = drops.register("my-proto", "bad_magic", "the magic number is wrong")
    assert code == before
    assert drops.name(code) == "plugin_my_proto_bad_magic"
    assert drops.text(code) == "the magic number is wrong"
    assert drops.code("plugin_my_proto_bad_magic") == code
    assert drops.register("my-proto", "bad_magic", "the magic number is wrong") == code
    assert len(drops) == before + 1


def test_a_reason_is_not_registered_anew_with_another_text() -> None:
    drops = Drops()
    drops.register("p", "short", "one")
    with pytest.raises(ValueError, match="registered already"):
        drops.register("p", "short", "another")


def test_a_plugin_has_at_most_eight_reasons() -> None:
    drops = Drops()
    for number in range(MOST_PER_PLUGIN):
        drops.register("p", f"n{number}", "text")
    with pytest.raises(ValueError, match="8 drop reasons"):
        drops.register("p", "one_more", "text")
    drops.register("q", "first", "text")


def test_all_codes_stay_below_the_engine_s_limit() -> None:
    drops = Drops()
    for number in range(MAX_REASONS - len(drops)):
        drops.register(f"p{number // MOST_PER_PLUGIN}", f"n{number}", "text")
    assert len(drops) == MAX_REASONS
    with pytest.raises(ValueError, match="fit"):
        drops.register("last", "straw", "text")


@pytest.mark.parametrize(
    ("plugin", "name"), [("P", "x"), ("p", "X"), ("p", ""), ("", "x"), ("p", "a b"), ("p", "a\n")]
)
def test_names_are_words(plugin: str, name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        Drops().register(plugin, name, "text")
