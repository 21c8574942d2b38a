"""Counters of a plugin's own: made within a trace, bounded, and gone with the plugin."""

from __future__ import annotations

import pytest

from tests.conftest import native_engine
from vdp.api import PacketType
from vdp.counters import MOST_SERIES
from vdp.testing import Dataplane
from vdp.testing.builders import ipv4, udp

PACKET = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))


@pytest.fixture
def plane() -> Dataplane:
    native_engine()
    plane = Dataplane(plugins=["gre"])
    for name in ("one", "two"):
        plane.port(name, PacketType.L3)
    plane.connect("one", "two")
    return plane


def test_the_engine_counts_packets_that_no_trace_sees(plane: Dataplane) -> None:
    with plane:
        family = plane.datapath.counters.family("gre", "sent", "Sent.", ("egress",))
        plane.datapath.pipeline.add(
            lambda packet, egress: packet.count(family.labels(egress.name)),
            priority=900, name="count", owner="gre",
        )  # fmt: skip
        plane.send("one", PACKET)
        seen = plane.upcalls
        plane.send("one", *[PACKET] * 9)
        assert plane.upcalls == seen
        assert plane.counted("gre") == {'sent{egress="two"}': (10, 10 * len(PACKET))}
        assert plane.counted("gretap") == {}


def test_what_is_too_many_is_one_series(plane: Dataplane) -> None:
    with plane:
        family = plane.datapath.counters.family("gre", "seen", "Seen.", ("source", "port"))
        numbers = {family.labels(str(number), "7") for number in range(2 * MOST_SERIES)}
        assert len(numbers) == len(list(family)) == MOST_SERIES
        assert family.labels("other", "other") == family.labels(str(2 * MOST_SERIES), "7")
        assert family.labels("0", "7") in numbers


@pytest.mark.parametrize(
    ("plugin", "name", "labels", "words"),
    [
        ("my-own", "Sent", (), "'Sent' is no word"),
        ("my-own", "sent", ("egress-port",), "'egress-port' is no word"),
        ("my", "own_sent", (), "vdp_plugin_my_own_sent is a counter of plugin my-own already"),
    ],
)
def test_a_name_that_metrics_can_not_have_is_refused(
    plane: Dataplane, plugin: str, name: str, labels: tuple[str, ...], words: str
) -> None:
    with plane:
        plane.datapath.counters.family("my-own", "sent", "Sent.")
        with pytest.raises(ValueError, match=words):
            plane.datapath.counters.family(plugin, name, "Sent.", labels)


def test_a_value_for_each_label(plane: Dataplane) -> None:
    with plane, pytest.raises(ValueError, match="vdp_plugin_gre_sent: 0 values for 1 labels"):
        plane.datapath.counters.family("gre", "sent", "Sent.", ("egress",)).labels()


def test_they_go_with_what_registered_them(plane: Dataplane) -> None:
    with plane:
        datapath = plane.datapath
        with datapath.attempt() as registered:
            family = datapath.counters.family("gre", "sent", "Sent.")
            datapath.pipeline.add(
                lambda packet, egress: packet.count(family.labels()), priority=900, name="c", owner="gre"
            )
        plane.send("one", PACKET)
        number = family.labels()
        assert plane.counted("gre") == {"sent{}": (1, len(PACKET))}
        registered.take_back()
        datapath.revalidate()
        assert plane.counted("gre") == {}
        plane.send("one", PACKET)
        assert len(plane.received("two")) == 2
        assert plane.engine.new_counter() == number, "it was given back"
        assert datapath.counters.family("gre", "sent", "Sent again.").text == "Sent again."
