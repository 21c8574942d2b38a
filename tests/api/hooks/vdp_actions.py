"""A plugin in one file: an action of rules, `limit.size:N`, that drops what is larger."""

from collections.abc import Callable

import pytest

from vdp.api import Packet, PacketType, hookimpl
from vdp.testing import Dataplane
from vdp.testing.builders import ipv4, udp

vdp_api = 1


def size(argument: str) -> Callable[[Packet], None]:
    if not argument.isdigit():
        raise ValueError("expected a number of bytes")
    most = int(argument)

    def act(packet: Packet) -> None:
        packet.require_length(0, packet.otherwise("mtu_exceeded"), most=most)

    return act


@hookimpl
def vdp_actions() -> dict[str, Callable[[str], Callable[[Packet], None]]]:
    return {"size": size}


@pytest.mark.vdp("gre", f"limit={__name__}")
def test_what_is_larger_is_dropped(plane: Dataplane) -> None:
    plane.port("lan", PacketType.L3)
    plane.port("wan", PacketType.L3)
    plane.connect("lan", "wan")
    plane.rule(match={"in_port": "lan"}, actions=["limit.size:100", "normal"])
    for count in (10, 90):
        plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(count))))
    assert [len(packet) for packet in plane.received("wan")] == [38]
    assert plane.drops("lan") == {"mtu_exceeded": 1}
    with pytest.raises(ValueError, match=r'found "limit.size:much", expected a number of bytes'):
        plane.rule(actions=["limit.size:much"])
