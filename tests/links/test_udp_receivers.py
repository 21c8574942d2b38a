"""Who gets what comes to UDP ports: receivers that links share, and ports that plugins take by themselves."""

from __future__ import annotations

import errno

import pytest
from pydantic import ValidationError

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.links.udp_input import UdpReceiver
from vdp.packet import Packet
from vdp.protocols.ip import IPv4
from vdp.protocols.udp import Udp
from vdp.registry import RegistryError
from vdp.testing.builders import ethernet, gre, ipv4, udp
from vdp.verdict import Verdict

PORT = 7777


def receive(packet: Packet, ip: IPv4, udp: Udp) -> Verdict:
    return packet.drop("policy_rule") if packet.encap_port == PORT else Verdict.REJECT


def another(packet: Packet, ip: IPv4, udp: Udp) -> Verdict:
    return Verdict.REJECT


OURS = UdpReceiver("ours_rcv", "ours", receive)


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    return plane


def takers(plane: Plane) -> list[str]:
    return [handler.name for handler in plane.datapath.udp[4].ports]


def test_a_port_is_a_receivers_until_the_last_of_its_links_leaves(plane: Plane) -> None:
    ports = plane.datapath.udp[4]
    ports.listen(PORT, OURS)
    ports.listen(PORT, UdpReceiver("ours_rcv", "ours", receive))
    ports.leave(PORT)
    plane.send("underlay", ipv4(B, A, udp(1, PORT)))
    assert plane.drops("underlay") == {"policy_rule": 1}
    ports.leave(PORT)
    assert takers(plane) == []


def test_another_receiver_is_refused(plane: Plane) -> None:
    ports = plane.datapath.udp[4]
    ports.listen(PORT, OURS)
    with pytest.raises(
        RegistryError, match=f"slot {PORT}, wanted by theirs of them, is taken by ours_rcv of ours"
    ) as no:
        ports.listen(PORT, UdpReceiver("theirs", "them", another))
    assert no.value.errno == errno.EBUSY
    ports.leave(PORT)
    assert takers(plane) == []


def test_links_of_two_ip_protocols_do_not_share_one(plane: Plane) -> None:
    """`ip fou add port 7777 ipproto 47` and `ipproto 4`: the second one is refused."""
    ports = plane.datapath.udp[4]
    ports.listen(PORT, ports.over(47))
    ports.listen(PORT, ports.over(47))
    with pytest.raises(RegistryError):
        ports.listen(PORT, ports.over(4))


def test_what_a_plugin_registered_stays_when_links_leave_it(plane: Plane) -> None:
    ports = plane.datapath.udp[4]
    ports.ports.add(receive, slot=PORT, name="ours_rcv", owner="ours")
    ports.listen(PORT, OURS)
    assert ports.taken_by_plugins() == {PORT}
    ports.leave(PORT)
    assert takers(plane) == ["ours_rcv"]


def test_whatever_is_behind_udp_knows_to_which_port_it_came(plane: Plane) -> None:
    seen = []

    def note(packet: Packet, ip: IPv4, udp: Udp) -> Verdict:
        seen.append((packet.encap_port, ip.payload))
        return Verdict.REJECT

    plane.datapath.udp[4].ports.add(note, slot=PORT, name="note", owner="ours")
    plane.send("underlay", ipv4(B, A, udp(1, PORT)), ipv4(B, A, gre(bytes(20)), protocol=47))
    assert seen == [(PORT, 28)]
    assert plane.counters("gre1")["rx_packets"] == 1, "and what did not, is not taken for it"


def test_a_kind_without_fallback_links_says_so(make_plane: MakePlane) -> None:
    plane = make_plane(("gre", "nvgre"))
    plane.port("underlay", L3)
    with pytest.raises(
        ValidationError, match="links of this kind take what is theirs only: leave out fallback"
    ):
        plane.link("nv1", "nvgre", fallback=True)


def test_time_that_passes_tells_learned_addresses_of_hits(make_plane: MakePlane) -> None:
    """Packets that Python does not see keep a station alive, in a dataplane in memory as in a daemon."""
    plane = make_plane()
    for name in ("one", "two"):
        plane.port(name, L2)
    bridge = plane.bridge("br0", "one", "two", ageing_s=60)
    frame = ethernet(b"", origin="02:00:00:00:00:09")
    plane.send("one", frame)
    plane.pass_time(50)
    seen = plane.upcalls
    plane.send("one", frame)
    assert plane.upcalls == seen
    plane.pass_time(50)
    bridge.age(plane.now_ns)
    assert list(bridge.stations) == [bytes.fromhex("020000000009")]
    plane.pass_time(100)
    bridge.age(plane.now_ns)
    assert not bridge.stations
