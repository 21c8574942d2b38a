"""vdp_pptp: sequence numbers and acknowledgments (RFC 2637 4; scapy and tshark read what is sent)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from pydantic import ValidationError
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE_PPTP
from scapy.layers.ppp import HDLC, PPP
from scapy.packet import Raw
from scapy.utils import wrpcap

from tests.plane import L3, A, B, MakePlane, Plane
from tests.plugins.test_pptp import ACK, FULL, INNER, INNER6, OURS, PEERS, PLUGINS, incoming, pptp
from vdp.links.paths import PathPending, Way
from vdp.testing.soundness import check_soundness
from vdp_pptp import Settings

LAST = 0xFFFFFFFF
#: Two looks at the numbers are as far apart as this; what came in is acknowledged at the second.
LOOK_S = 0.05

MakeSession = Callable[..., Plane]


@pytest.fixture
def session(make_plane: MakePlane) -> MakeSession:
    """A session of two call IDs; options of the link."""

    def make(ack_ms: int = 100, **parameters: Any) -> Plane:
        plane = make_plane(PLUGINS, None, {"pptp": Settings(ack_ms=ack_ms)})
        plane.port("underlay", L3)
        plane.port("inner", L3)
        options: dict[str, Any] = {"local": A, "remote": B, "call_id": OURS, "peer_call_id": PEERS}
        plane.link("pptp0", "pptp", **{**options, **parameters})
        plane.connect("pptp0", "inner")
        return plane

    return make


def receive(plane: Plane, *numbers: int, **fields: Any) -> int:
    """Packets of these numbers come in; how many get through."""
    packets = [incoming(pptp(FULL + INNER, seq=number % (1 << 32), **fields)) for number in numbers]
    plane.send("underlay", *packets)
    return len(plane.received("inner"))


def looked(plane: Plane, times: int = 1) -> list[Any]:
    """The plugin looks at the numbers; what is sent by itself."""
    for _ in range(times):
        plane.pass_time(LOOK_S)
    return [IP(data)[GRE_PPTP] for data in plane.received("underlay")]


def sent(plane: Plane, count: int = 1) -> list[Any]:
    """Packets go out; as scapy reads them."""
    plane.send("inner", *[INNER] * count)
    return [IP(data)[GRE_PPTP] for data in plane.received("underlay")]


def heard(plane: Plane, *numbers: int) -> None:
    """The first packets came in, and all that is due is acknowledged."""
    assert receive(plane, *numbers)
    looked(plane, 3)


# -- received -----------------------------------------------------------------------------


@pytest.mark.conformance("L4", "E4")
def test_numbers_are_compared_over_the_wrap(session: MakeSession) -> None:
    """Zero is a number like others; and one lost before the wrap (pptp_rcv_core: WRAPPED) is no harm."""
    plane = session()
    assert receive(plane, LAST - 3, LAST - 1, 0, 1) == 4
    assert receive(plane, 1, 0, LAST, LAST - 1) == 0
    assert plane.counters("pptp0")["rx_fifo_errors"] == 4
    assert receive(plane, 2) == 1


@pytest.mark.conformance("L4")
@pytest.mark.parametrize("first", [0, 1, 4711, 1 << 31, LAST])
def test_the_first_number_is_free(session: MakeSession, first: int) -> None:
    plane = session()
    assert receive(plane, first, first, first - 1, first + 1) == 2


@pytest.mark.conformance("L4")
def test_late_packets_pass_once_with_a_window(session: MakeSession) -> None:
    plane = session(seq_window=2)
    assert receive(plane, 10, 8, 9, 7, 8, 9, 10, 11) == 4
    assert plane.counters("pptp0")["rx_fifo_errors"] == 4


def test_another_window_begins_anew(session: MakeSession) -> None:
    plane = session()
    heard(plane, 100)
    changed = {"local": A, "remote": B, "call_id": OURS, "peer_call_id": PEERS, "seq_window": 5}
    plane.change_link("pptp0", **changed)
    assert sent(plane)[0].acknum_present == 0
    assert receive(plane, 7, 3, 3) == 2
    looked(plane, 3)
    assert sent(plane)[0].ack_number == 7


# -- sent with data -----------------------------------------------------------------------


@pytest.mark.conformance("L4")
def test_nothing_is_acknowledged_before_something_came_in(session: MakeSession) -> None:
    plane = session()
    assert looked(plane, 5) == []
    assert [gre.acknum_present for gre in sent(plane, 2)] == [0, 0]


@pytest.mark.conformance("L4")
def test_data_acknowledges_the_highest_number_received(session: MakeSession) -> None:
    plane = session()
    heard(plane, 41)
    for number in (42, 43, 50):
        assert receive(plane, number) == 1
        assert [gre.ack_number for gre in sent(plane, 2)] == [number] * 2
    assert receive(plane, 49) == 0
    assert sent(plane)[0].ack_number == 50


@pytest.mark.conformance("L4")
def test_a_late_packet_is_not_the_highest(session: MakeSession) -> None:
    plane = session(seq_window=8)
    heard(plane, 10)
    assert receive(plane, 12, 11, 9) == 3
    assert sent(plane)[0].ack_number == 12


def test_the_acknowledgment_goes_over_the_wrap(session: MakeSession) -> None:
    plane = session()
    heard(plane, LAST - 1)
    assert receive(plane, LAST) == 1
    assert sent(plane)[0].ack_number == LAST
    assert receive(plane, 0) == 1
    assert sent(plane)[0].ack_number == 0


@pytest.mark.conformance("L4")
def test_data_with_an_acknowledgment_is_as_scapy_writes_it(session: MakeSession) -> None:
    plane = session()
    heard(plane, 5)
    [gre] = sent(plane)
    wanted = GRE_PPTP(call_id=PEERS, seqnum_present=1, sequence_number=1, acknum_present=1, ack_number=5) / (
        HDLC() / PPP(proto=0x21) / INNER
    )
    assert bytes(gre) == bytes(wanted)


def test_acknowledging_costs_no_upcalls(session: MakeSession) -> None:
    plane = session()
    heard(plane, 1)
    sent(plane)
    before = plane.upcalls
    for number in range(2, 40):
        receive(plane, number)
        assert sent(plane)[0].ack_number == number
    assert plane.upcalls == before


@pytest.mark.conformance("L4", "G4")
@pytest.mark.parametrize("start", [0, 1, LAST])
def test_the_first_number_sent_can_be_chosen(session: MakeSession, start: int) -> None:
    plane = session(seq_start=start)
    assert [gre.sequence_number for gre in sent(plane, 2)] == [start, (start + 1) % (1 << 32)]


# -- sent alone ---------------------------------------------------------------------------


@pytest.mark.conformance("L4")
def test_what_no_data_acknowledges_is_acknowledged_alone(session: MakeSession) -> None:
    plane = session()
    heard(plane, 5)
    assert receive(plane, 6, 7) == 2
    assert looked(plane) == []  # data may still come
    [gre] = looked(plane)
    assert bytes(gre) == bytes(GRE_PPTP(call_id=PEERS, acknum_present=1, ack_number=7, payload_len=0))
    assert looked(plane, 10) == []


@pytest.mark.conformance("L4")
def test_the_very_first_packet_is_acknowledged(session: MakeSession) -> None:
    plane = session()
    assert receive(plane, 0) == 1
    assert [gre.ack_number for gre in looked(plane, 3)] == [0]


@pytest.mark.conformance("L4")
def test_data_that_acknowledges_saves_the_packet(session: MakeSession) -> None:
    plane = session()
    heard(plane, 5)
    for number in range(6, 12):
        assert receive(plane, number) == 1
        assert looked(plane) == []
        assert sent(plane)[0].ack_number == number


@pytest.mark.conformance("L4")
def test_data_sent_before_it_came_in_acknowledges_nothing(session: MakeSession) -> None:
    plane = session()
    heard(plane, 5)
    sent(plane)
    assert receive(plane, 6) == 1
    assert [gre.ack_number for gre in looked(plane, 2)] == [6]


@pytest.mark.conformance("L4")
def test_a_stream_one_way_is_acknowledged_once_in_that_time(session: MakeSession) -> None:
    plane = session()
    heard(plane, 1)
    numbers = []
    for look in range(10):
        assert receive(plane, *range(look * 100 + 2, look * 100 + 102)) == 100
        numbers += [gre.ack_number for gre in looked(plane)]
    assert numbers == [201, 401, 601, 801, 1001]


def test_how_long_it_may_take_is_configured(session: MakeSession) -> None:
    plane = session(ack_ms=1000)
    receive(plane, 1)
    plane.pass_time(0.5)
    assert looked(plane, 9) == []
    plane.pass_time(0.5)
    assert [gre.ack_number for gre in looked(plane, 20)] == [1]


def test_a_link_that_is_down_acknowledges_nothing(session: MakeSession) -> None:
    plane = session()
    heard(plane, 5)
    receive(plane, 6)
    plane.datapath.set_link_up("pptp0", False)
    assert looked(plane, 5) == []
    plane.datapath.set_link_up("pptp0", True)
    assert [gre.ack_number for gre in looked(plane)] == [6]


def test_a_way_that_is_not_known_yet_is_waited_for(
    session: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = session()
    heard(plane, 5)
    receive(plane, 6)
    pending = PathPending(Way("underlay", IPv4Address(B), IPv4Address(A), 0))
    with monkeypatch.context() as patch:
        patch.setattr(plane.datapath, "send", Mock(side_effect=pending))
        assert looked(plane, 4) == []
    assert [gre.ack_number for gre in looked(plane)] == [6]


def test_both_ends_acknowledge_each_other(session: MakeSession) -> None:
    near = session()
    far = session(local=B, remote=A, call_id=PEERS, peer_call_id=OURS)

    def exchange() -> None:
        for one, other in ((near, far), (far, near)):
            one.pass_time(LOOK_S)
            other.send("underlay", *one.received("underlay"))

    near.send("inner", INNER, INNER6)
    for _ in range(6):
        exchange()
    assert sorted(far.received("inner")) == sorted([INNER, INNER6])
    assert near.all_drops() == {ACK: 1}  # acknowledgments are not acknowledged
    assert far.all_drops() == {}
    far.send("inner", INNER)
    [data] = far.received("underlay")
    assert IP(data)[GRE_PPTP].ack_number == 2


def test_it_is_sound(session: MakeSession) -> None:
    plane = session()
    heard(plane, 5)
    check_soundness(plane.datapath, "inner", INNER, INNER6)


def test_a_packet_of_ppp_as_such_is_refused(session: MakeSession) -> None:
    """The empty one stands for an acknowledgment, inside; one with bytes is somebody's payload."""
    plane = session()
    heard(plane, 5)
    plane.link("gre0", "gre", local=A, remote=B)
    plane.connect("gre0", "pptp0")
    plane.send("underlay", bytes(IP(src=B, dst=A, proto=47) / Raw(bytes.fromhex("0000880b") + bytes(20))))
    assert plane.received("underlay") == []
    assert plane.all_drops() == {"protocol_unsupported": 1}


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.conformance("L4")
def test_tshark_reads_what_is_sent(session: MakeSession, tmp_path: Path) -> None:
    plane = session()
    plane.send("inner", INNER)
    receive(plane, 77)
    looked(plane, 2)
    first = sent(plane)  # what was sent before is gone with the looking
    receive(plane, 78)
    alone = looked(plane, 2)
    assert (len(first), len(alone)) == (1, 1)
    path = tmp_path / "sent.pcap"
    wrpcap(str(path), [IP(src=A, dst=B, proto=47) / gre for gre in (*first, *alone)], linktype=101)
    fields = ("gre.flags_and_version", "gre.key.call_id", "gre.key.payload_length", "gre.sequence_number",
              "gre.ack_number", "ppp.protocol", "_ws.malformed")  # fmt: skip
    columns = [argument for field in fields for argument in ("-e", field)]
    read = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=;", "-E", "occurrence=f", *columns],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert read.stdout.splitlines() == [
        f"0x3081;{PEERS};{4 + len(INNER)};2;77;0x0021;",
        f"0x2081;{PEERS};0;;78;;",
    ]


@pytest.mark.parametrize("parameters", [{"seq_window": 1025}, {"seq_start": 1 << 32}, {"seq_state": "linux"}])
def test_what_makes_no_sense_is_refused(session: MakeSession, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        session(**parameters)
