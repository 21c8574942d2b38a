"""Links of a plugin that is imported anew: made again by the new code, they go on as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from tests.plane import L2, L3, A, B, MakePlane, Plane
from tests.plugins.test_change import Source, equipped, packet, registered, reload, source
from vdp.forwarding.routes import Route
from vdp.loader import PluginError
from vdp.plugin_change import PluginChange
from vdp.testing.builders import gre, ipv4, udp

__all__ = ["source"]


@pytest.fixture
def plane(make_plane: MakePlane, source: Callable[[str], Source]) -> Plane:
    return equipped(make_plane(("gre", "gretap")))


@pytest.fixture
def change(plane: Plane) -> PluginChange:
    return PluginChange(plane.datapath)


@pytest.mark.conformance("A14")
def test_links_of_a_plugin_that_is_reloaded_go_on_with_their_flows_counters_and_numbers(
    plane: Plane, change: PluginChange
) -> None:
    plane.link("gre2", "gre", local=A, remote="192.0.2.3", seq=True)
    plane.route(Route(ip_network("10.9.0.0/16"), "gre2"))
    sent, back = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)), packet(8)
    plane.send("underlay", back)
    plane.send("lan", sent)
    links = dict(plane.datapath.links)
    kinds = dict(plane.datapath.plugins.kinds)
    flows, upcalls = plane.flows("underlay"), plane.upcalls
    before = {name: link.stats() for name, link in links.items()}
    numbers = {name: (link.number, link.counters) for name, link in links.items()}
    for _ in range(3):
        reload(plane, "gre")
    assert plane.datapath.plugins.kinds["gre"] is not kinds["gre"]
    for name, link in plane.datapath.links.items():
        assert link is not links[name]
        assert link.kind is plane.datapath.plugins.kinds["gre"]
        assert (link.number, link.counters) == numbers[name]
        assert link.stats() == before[name]
        assert list(link.kind.table) != list(links[name].kind.table)
    assert plane.datapath.links["gre2"].output_sequence == links["gre2"].output_sequence
    assert [(flow.id, flow.match) for flow in plane.flows("underlay")] == [
        (flow.id, flow.match) for flow in flows
    ]
    plane.send("underlay", back)
    plane.send("lan", sent)
    assert plane.upcalls == upcalls
    assert len(plane.received("lan")) == 2
    assert plane.counters("gre1")["rx_packets"] == before["gre1"]["rx_packets"] + 1
    assert plane.all_drops() == {}
    used = registered(plane)["counters"]
    for _ in range(10):
        reload(plane, "gre")
    assert registered(plane)["counters"] <= used + 5  # that many of a handler's come and go


@pytest.mark.conformance("A14")
def test_who_uses_the_kinds_of_a_plugin_uses_those_of_the_new_one(make_plane: MakePlane) -> None:
    """A redirected packet belongs to the keyless gre link: wccp looks in the table of kind gre."""
    plane = make_plane(("gre", "wccp"))
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    change = PluginChange(plane.datapath)
    redirected = ipv4(B, A, gre(ipv4("10.0.0.2", "10.0.0.1", udp(1, 2)), 0x883E), protocol=47)

    def arrives() -> bool:
        """By wccp's handler: that of gre, which is asked after it, would take it too, as something else."""
        before = plane.verdicts()["wccp_rcv"].get("received", 0)
        plane.send("underlay", redirected)
        taken = plane.verdicts()["wccp_rcv"].get("received", 0) == before + 1
        return taken and bool(plane.received("lan"))

    assert arrives()
    reload(plane, "gre")
    assert arrives()
    plane.remove_link("gre1")
    change.unload("gre")
    assert not arrives()
    change.load("gre")
    plane.link("gre1", "gre", local=A, remote=B)
    assert arrives()


def test_links_stay_with_the_code_before_where_the_new_one_does_not_take_them(
    plane: Plane, source: Callable[[str], Source], change: PluginChange
) -> None:
    mine = source("mine")
    mine.write(more=KIND)
    change.load("mine")
    plane.link("own1", "own", remote="192.0.2.9", word="known")
    plane.send("underlay", packet(8))
    kind, number = plane.datapath.links["own1"].kind, plane.datapath.links["own1"].number
    for more, words in [
        (KIND.replace("word: str", "other: str"), "takes no longer what a link of its kind was told: word: "),
        (
            KIND.replace('name = "own"', 'name = "owned"'),
            "gives link kind 'own' no more, of which is link own1",
        ),
        (KIND + REFUSES, "can not make a link of its kind: link own1: not with me (Invalid argument)"),
        (
            KIND + RAISES,
            "can not make a link of its kind: ZeroDivisionError: late (mine_package/__init__.py:",
        ),
    ]:
        mine.write(more=more)
        with pytest.raises(PluginError) as caught:
            reload(plane, "mine")
        assert words in str(caught.value)
        assert str(caught.value).endswith("; the one before runs again")
        link = plane.datapath.links["own1"]
        assert (link.number, type(link.kind).__name__) == (number, type(kind).__name__)
        assert link.parameters.word == "known"
        assert not plane.datapath.half_made
    mine.write(more=KIND)
    reload(plane, "mine")
    assert plane.datapath.links["own1"].number == number


KIND = """
from vdp.api import IpTunnel, IpTunnelKind, LinkError, LinkKind, PacketType, TunnelParameters

class OwnParameters(TunnelParameters):
    word: str = ""

class OwnKind(IpTunnelKind):
    name = "own"
    packet_type = PacketType.L3
    parameters = OwnParameters
    tunnel = IpTunnel

@hookimpl
def vdp_link_kinds():
    return [OwnKind()]
"""
REFUSES = """
async def refuse(self, datapath, name, underlay, parameters):
    raise LinkError(22, name, "not with me")
OwnKind.newlink = refuse
"""
RAISES = """
class OwnTunnel(IpTunnel):
    def __init__(self, *given):
        super().__init__(*given)
        self.new_state(1)
        raise ZeroDivisionError("late")
OwnKind.tunnel = OwnTunnel
"""


def test_a_link_of_a_kind_that_carries_frames_now_gets_a_cell_for_frames(
    plane: Plane, source: Callable[[str], Source], change: PluginChange
) -> None:
    """The engine refuses packets of another type than a cell's."""
    mine = source("mine")
    mine.write(more=KIND)
    change.load("mine")
    plane.link("own1", "own", remote="192.0.2.9")
    before = plane.datapath.links["own1"].number
    mine.write(more=KIND.replace("PacketType.L3", "PacketType.L2"))
    reload(plane, "mine")
    assert plane.datapath.links["own1"].number != before
    reload(plane, "mine")
    assert plane.datapath.links["own1"].packet_type is L2
