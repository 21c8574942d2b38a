"""Changing a link (ip_tunnel_changelink): what may become what, and that nothing is lost meanwhile."""

from __future__ import annotations

import errno

import pytest
from scapy.layers.inet import IP

from tests.links.test_receive import INNER, LOCAL, REMOTE, outer
from tests.plane import L3, Plane
from vdp.links.link import LinkError
from vdp.testing.builders import gre

OTHER = "192.0.2.9"


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "gre1")
    return plane


@pytest.mark.conformance("B22")
def test_another_remote_is_used_from_the_next_packet_on(plane: Plane) -> None:
    plane.send("lan", INNER)
    assert [IP(packet).dst for packet in plane.received("underlay")] == [REMOTE]
    plane.change_link("gre1", local=LOCAL, remote=OTHER)
    before = plane.upcalls
    plane.send("lan", INNER)
    assert [IP(packet).dst for packet in plane.received("underlay")] == [OTHER]
    assert plane.upcalls == before, "the megaflow was traced anew: no packet had to ask"


@pytest.mark.conformance("B22")
def test_a_new_key_is_asked_for_and_the_old_one_refused(plane: Plane) -> None:
    plane.send("underlay", outer(gre(INNER)))
    assert plane.received("lan") == [INNER]
    plane.change_link("gre1", local=LOCAL, remote=REMOTE, key=7)
    plane.send("underlay", outer(gre(INNER)), outer(gre(INNER, key=7)))
    assert plane.received("lan") == [INNER]
    assert plane.drops("underlay") == {"tunnel_no_link": 1}


@pytest.mark.conformance("B22")
def test_the_mtu_follows_the_headers(plane: Plane) -> None:
    assert plane.datapath.links["gre1"].mtu == 1476
    plane.change_link("gre1", local=LOCAL, remote=REMOTE, key=7, csum=True)
    assert plane.datapath.links["gre1"].mtu == 1468


@pytest.mark.conformance("B22")
def test_what_another_tunnel_has_is_refused_and_the_link_stays_as_it_was(plane: Plane) -> None:
    plane.link("gre2", "gre", local=LOCAL, remote=OTHER)
    with pytest.raises(LinkError) as caught:
        plane.change_link("gre1", local=LOCAL, remote=OTHER)
    assert caught.value.errno == errno.EEXIST
    plane.send("underlay", outer(gre(INNER)))
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("B22", "B11")
@pytest.mark.parametrize("remote", ["any", "239.1.1.1"])
def test_a_point_to_point_device_can_not_become_another(plane: Plane, remote: str) -> None:
    with pytest.raises(LinkError) as caught:
        plane.change_link("gre1", local=LOCAL, remote=remote)
    assert caught.value.errno == errno.EINVAL
    assert plane.datapath.links["gre1"].fill_info()["class"] == "point-to-point"


def test_a_port_that_links_run_over_is_not_removed(plane: Plane) -> None:
    with pytest.raises(LinkError) as caught:
        plane.datapath.remove_port("underlay")
    assert caught.value.errno == errno.EBUSY
    assert "it is the underlay of gre1" in str(caught.value)
    plane.remove_link("gre1")
    plane.datapath.remove_port("underlay")
