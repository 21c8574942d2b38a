"""`family` of a raw port, and the links that run over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vdp.config import Config, ConfigError

Parse = Callable[[str], Config]
RAW = '[[port]]\nname = "u"\ntype = "raw"\nprotocol = "gre"\n'
FAMILY = 'family = "ipv6"\n'
WIRE = '[[port]]\nname = "u"\ntype = "raw"\ninterface = "eth0"\n'


def link(kind: str) -> str:
    return f'[[link]]\nname = "t"\nkind = "{kind}"\nunderlay = "u"\n[plugins]\nload = ["{kind}"]\n'


@pytest.mark.parametrize(
    "text",
    [RAW + link("gre"), RAW + FAMILY + link("ip6gre"), WIRE + link("gre"), WIRE + link("ip6gre")],
)
def test_a_link_runs_over_a_port_of_its_family_or_an_interface(parse: Parse, text: str) -> None:
    parse(text)


def test_a_raw_port_of_each_family_is_no_duplicate(parse: Parse) -> None:
    config = parse(RAW + RAW.replace('"u"', '"v"') + FAMILY)
    assert [port.family for port in config.ports] == ["ipv4", "ipv6"]


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (RAW + link("ip6gre"), "link[0].underlay", "a raw port of family ipv6, which ip6gre runs over"),
        (RAW + FAMILY + link("gre"), "link[0].underlay", "a raw port of family ipv4, which gre runs over"),
        (WIRE + FAMILY, "port[0].family", "it only beside protocol"),
        ('[[port]]\nname = "u"\ntype = "tap"\n' + FAMILY, "port[0].family", "it only on ports of type raw"),
        (RAW + 'family = "inet6"\n', "port[0].family", 'one of "ipv4", "ipv6"'),
        (
            RAW + FAMILY + (RAW + FAMILY).replace('"u"', '"v"'),
            "port[1].protocol",
            "a protocol that no other raw port has",
        ),
    ],
)
def test_a_family_in_the_wrong_place_is_refused(parse: Parse, text: str, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert [(problem.key, problem.expected) for problem in refused.value.problems] == [(key, expected)]


def test_a_tunnel_in_udp_runs_over_an_interface(parse: Parse) -> None:
    """The kernel's raw sockets carry one IP protocol, and that is not UDP."""
    text = link("gre").replace('underlay = "u"\n', 'underlay = "u"\nencap = "udp"\n')
    parse(WIRE + text)
    with pytest.raises(ConfigError) as refused:
        parse(RAW + text)
    (problem,) = refused.value.problems
    assert (problem.key, problem.line) == ("link[0].encap", 9)
    assert "an underlay with `interface`" in problem.expected
