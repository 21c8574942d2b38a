"""Examples of docs/api/datapath.md."""

import asyncio
import logging

import pytest

from vdp.api import (
    CounterFamily,
    Datapath,
    Egress,
    IPv4,
    Packet,
    PacketType,
    PathPending,
    TunnelInfo,
    Upcall,
    Verdict,
)
from vdp.testing import Dataplane
from vdp.testing.builders import gre, ipv4, udp

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 2000, b"hello"))
IN_GRE = ipv4(REMOTE, LOCAL, gre(INNER), protocol=47)


def ready(plane: Dataplane) -> Datapath:
    """A gre link between `underlay` and `lan`."""
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "gre1")
    return plane.datapath


# shows: Datapath
def test_a_table_decides_a_timer_changes_it_and_a_packet_is_sent(
    plane: Dataplane, caplog: pytest.LogCaptureFixture
) -> None:
    datapath = ready(plane)
    is_open = False

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.depends("gate")
        return Verdict.REJECT if is_open else packet.drop("policy_rule")

    def open_gate() -> None:
        nonlocal is_open
        is_open = True
        datapath.invalidate("gate")
        datapath.say(logging.WARNING, "gate", "the gate is open")
        datapath.send("gre1", INNER, PacketType.L3, 0x0800)

    datapath.registry.list("gre_cisco").add(receive, priority=1, name="gate", owner="gate")
    datapath.every(5, open_gate)
    plane.send("lan", INNER)  # the way to the peer is known then
    plane.received("underlay")

    plane.send("underlay", IN_GRE)
    assert plane.received("lan") == []
    plane.pass_time(5)
    plane.send("underlay", IN_GRE)
    assert plane.received("lan") == [INNER]
    assert [sent[24:] for sent in plane.received("underlay")] == [INNER]
    assert "the gate is open" in caplog.text


# shows: Counters, CounterFamily
def test_counters_are_the_engines(plane: Dataplane) -> None:
    datapath = ready(plane)
    sent: CounterFamily = datapath.counters.family("audit", "sent", "Packets sent.", ("egress",))

    def count(packet: Packet, egress: Egress) -> None:
        packet.count(sent.labels(egress.name))

    datapath.pipeline.add(count, priority=300, name="audit", owner="audit")
    plane.send("lan", INNER, INNER)
    size = len(INNER)
    assert plane.counted("audit")['sent{egress="gre1"}'] == (2, 2 * size)
    assert plane.counted("audit")['sent{egress="underlay"}'] == (2, 2 * (size + 24))
    assert sent.metric == "vdp_plugin_audit_sent"


# shows: States
def test_a_state_refuses_what_comes_twice(plane: Dataplane) -> None:
    datapath = ready(plane)
    window = datapath.states.window(64)

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.require_sequence(4, window, packet.otherwise("tunnel_sequence"), late=True)
        return Verdict.REJECT if info.protocol == 0x0800 else packet.drop("policy_rule")

    datapath.registry.list("gre_cisco").add(receive, priority=250, name="once", owner="once")
    datapath.registry.list("gre_cisco").add(
        lambda packet, *_: packet.drop("policy_rule"), priority=251, name="end", owner="once"
    )
    for number in (1, 2, 1):
        data = number.to_bytes(4, "big") + bytes(8)
        plane.send("underlay", ipv4(REMOTE, LOCAL, gre(data, 0x88BD), protocol=47))
    assert plane.drops("underlay") == {"policy_rule": 2, "tunnel_sequence": 1}
    assert datapath.states.read(window) == 3  # the number expected next


# shows: Commands
def test_a_command_is_called_with_text(plane: Dataplane) -> None:
    def greet(name: str, times: str = "1") -> str:
        return ", ".join([f"hello {name}"] * int(times))

    plane.datapath.commands.add("greeter", "greet", greet, "greet NAME [TIMES]: say hello")
    # vdp plugin call greeter greet Ada 2
    assert plane.call("greeter", "greet", "Ada", "2") == "hello Ada, hello Ada"
    with pytest.raises(ValueError, match="missing a required argument: 'name'"):
        plane.call("greeter", "greet")


# shows: Upcall
def test_a_copy_comes_up_while_the_packet_goes_on(plane: Dataplane) -> None:
    datapath = ready(plane)
    heard: list[bytes] = []

    def hear(upcall: Upcall) -> None:
        heard.append(upcall.data)

    cookie = datapath.add_cookie(hear)

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.upcall(cookie)
        return Verdict.REJECT if packet.packet_type is PacketType.L2 else pass_on(packet, info)

    def pass_on(packet: Packet, info: TunnelInfo) -> Verdict:
        packet.pull(info.header_size)
        return packet.output(datapath.number_of("gre1"))

    datapath.registry.list("gre_cisco").add(receive, priority=1, name="tap", owner="tap")
    plane.send("underlay", IN_GRE, IN_GRE)
    assert heard == [gre(INNER), gre(INNER)]  # from the front as it was: behind the outer IP header
    assert plane.received("lan") == [INNER, INNER]


# shows: PathPending
def test_a_way_that_is_not_known_yet_is_asked_for(plane: Dataplane) -> None:
    datapath = ready(plane)
    datapath.paths.forget(datapath.ports["underlay"])

    async def send() -> None:
        datapath.send("gre1", INNER, PacketType.L3, 0x0800)

    with pytest.raises(PathPending, match=r"underlay: the way to 192\.0\.2\.2 is being resolved"):
        asyncio.run(send())
