"""What `vdp check` says of links before one is made: bounds, duplicates, the fallback, the bound device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vdp.config import Config, ConfigError, load
from vdp.loader import Plugins

PORTS = """
[[port]]
name = "raw0"
type = "raw"
protocol = "gre"

[[port]]
name = "eth"
type = "raw"
interface = "eth0"

[plugins]
load = ["gre", "gretap"]
"""


def link(name: str, kind: str = "gre", underlay: str = "raw0", more: str = "") -> str:
    """A `[[link]]`, from and to anybody unless `more` says otherwise."""
    head = f'name = "{name}"\nkind = "{kind}"\nunderlay = "{underlay}"\nallow_any_remote = true'
    return f"\n[[link]]\n{head}\n{more}\n"


Said = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Config]:
    def read(*links: str) -> Config:
        plugins = Plugins()
        plugins.load(("gre", "gretap"), strict=True)
        path = tmp_path / "vdp.toml"
        path.write_text(PORTS + "".join(links))
        return load(path, lambda section: plugins.kinds, plugins.settings)

    return read


@pytest.fixture
def said(read: Callable[..., Config]) -> Said:
    """The problems, each in the words that a person sees."""

    def said(*links: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(*links)
        return [problem.render() for problem in caught.value.problems]

    return said


@pytest.mark.conformance("B24")
def test_an_mtu_beyond_the_bound_is_refused_with_what_would_do(said: Said) -> None:
    (text,) = said(link("g", more="key = 1\nmtu = 65501"))
    assert "mtu is 65501, expected 68 to 65500: 65528 less 28 bytes of headers" in text
    assert "vdp.toml:" in text
    (text,) = said(link("g", "gretap", more="mtu = 65491"))
    assert "expected 68 to 65490" in text
    (text,) = said(link("g", more="mtu = 67"))
    assert "link[0].mtu" in text


@pytest.mark.conformance("B6")
@pytest.mark.parametrize(
    "more", ["ttl = 9", "csum = true", "okey = 5", "mtu = 1000"], ids=["ttl", "csum", "okey", "mtu"]
)
def test_what_does_not_tell_tunnels_apart_makes_no_difference(said: Said, more: str) -> None:
    ends = 'local = "192.0.2.1"\nremote = "192.0.2.2"\n'
    (text,) = said(link("one", more=ends), link("two", more=ends + more))
    assert "link[1]" in text
    assert "the same kind, underlay, ends and received key" in text


@pytest.mark.conformance("B6", "D6")
def test_what_tells_them_apart_does(read: Callable[..., Config]) -> None:
    ends = 'local = "192.0.2.1"\nremote = "192.0.2.2"\n'
    others = ["", "ikey = 5", "key = 6", 'link = "eth0"', 'link = "eth1"']
    made = [link(f"g{n}", more=ends + other) for n, other in enumerate(others)]
    assert len(read(*made, link("t", "gretap", more=ends), link("e", underlay="eth", more=ends)).links) == 7


@pytest.mark.conformance("A13", "B6")
def test_there_is_one_fallback_of_a_kind_and_underlay(said: Said, read: Callable[..., Config]) -> None:
    fallback = "fallback = true"
    assert read(link("gre0", more=fallback), link("gretap0", "gretap", more=fallback),
                link("gre0e", underlay="eth", more=fallback))  # fmt: skip
    (text,) = said(link("gre0", more=fallback), link("gre00", more=fallback + "\nmtu = 1400"))
    assert "as a fallback" in text
    (text,) = said(link("gre0", more=fallback), link("any"))
    assert "as a fallback" in text
    (text,) = said(link("gre0", more=fallback + '\nlocal = "192.0.2.1"\nkey = 5'))
    assert "leave out key and local" in text


@pytest.mark.conformance("B12")
def test_a_link_over_an_interface_can_be_bound_to_that_one_only(
    said: Said, read: Callable[..., Config]
) -> None:
    assert read(link("one", underlay="eth", more='link = "eth0"'), link("two", more='link = "eth7"'))
    (text,) = said(link("one", underlay="eth", more='link = "eth1"'))
    assert "link[0].link" in text
    assert 'found "eth1", expected "eth0", by which all that "eth" sends leaves' in text


@pytest.mark.conformance("B3")
def test_a_mac_is_for_frames_and_one_stations(said: Said, read: Callable[..., Config]) -> None:
    (made,) = read(link("t", "gretap", more='mac = "02:00:00:00:00:AA"')).links
    assert made.parameters.mac == "02:00:00:00:00:aa"  # type: ignore[attr-defined]
    assert "link[0].mac" in said(link("t", "gretap", more='mac = "03:00:00:00:00:aa"'))[0]
    assert "link[0].mac" in said(link("g", more='mac = "02:00:00:00:00:aa"'))[0]
