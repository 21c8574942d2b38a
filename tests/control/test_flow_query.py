"""`flow.dump`: which megaflows, in which order, how many, and how fast they count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.control.fake_view import FakeView
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.config import Config
from vdp.control import flow_query
from vdp.control.errors import BAD_REQUEST, ControlError
from vdp.control.methods import method_table
from vdp.inspector import Inspector
from vdp.testing.builders import gre, ipv4, tcp, udp

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2))


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    """Three flows: what gre1 takes (5 packets), what it sends (2), and what no link takes (1)."""
    plane = make_plane(("gre",))
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B, key=1)
    plane.connect("gre1", "lan")
    return plane


def traffic(plane: Plane) -> None:
    for _ in range(5):
        plane.send("underlay", ipv4(B, A, gre(INNER, key=1), protocol=47))
    plane.pass_time(2)
    for _ in range(2):
        plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, bytes(1000))))
    plane.pass_time(1)
    plane.send("underlay", ipv4(B, A, gre(INNER, key=9), protocol=47))


def ask(plane: Plane, **params: Any) -> list[Any]:
    view = Inspector(plane.datapath, Config.__new__(Config))
    return list(asyncio.run(method_table(view)["flow.dump"](params)))  # type: ignore[arg-type]


def told(rows: list[Any]) -> list[str]:
    """Each flow by where it comes in and its last action."""
    return [f"{row['in_port']}: {row['actions'][-1]['text']}" for row in rows]


TAKEN, JOINED = "underlay: output gre1", "gre1: output lan"
SENT, LOST = "lan: output underlay", "underlay: drop tunnel_no_link"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gre.key=1", {TAKEN}),
        ("gre.key=0x9", {LOST}),
        ("GreKey.key!=1, in_port=underlay", {LOST}),
        ("ip.proto=gre", {TAKEN, LOST}),
        ("ip.src=192.0.2.2,packets>1", {TAKEN}),
        ("packets<=2, bytes>1000", {SENT}),
        ("output=underlay", {SENT}),
        ("output!=lan, in_port!=lan, in_port!=underlay", set()),
        ("drop=tunnel_no_link", {LOST}),
        ("plugin=gre", {TAKEN, JOINED, SENT, LOST}),
        ("age>2.5", {TAKEN, JOINED}),
        ("used<0.5", {LOST}),
        ("", {TAKEN, JOINED, SENT, LOST}),
    ],
)
def test_a_filter_takes_the_flows_for_which_all_terms_hold(plane: Plane, text: str, found: set[str]) -> None:
    traffic(plane)
    assert set(told(ask(plane, filter=text))) == found


@pytest.mark.parametrize(
    ("sort", "first"),
    [("packets", {TAKEN, JOINED}), ("bytes", {SENT}), ("age", {TAKEN, JOINED}), ("used", {LOST})],
)
def test_the_order_is_what_was_asked_for(plane: Plane, sort: str, first: set[str]) -> None:
    traffic(plane)
    assert told(ask(plane, sort=sort))[0] in first
    assert told(ask(plane, sort=sort, limit=1)) == told(ask(plane, sort=sort))[:1]


def test_rates_are_measured_between_two_looks(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic(plane)

    async def pass_time(seconds: float) -> None:
        """In place of sleeping: traffic, and the engine's clock."""
        if seconds:
            for _ in range(8):
                plane.engine.inject(plane.datapath.ports["lan"].number, packet)
            while plane.engine.poll():
                pass
            plane.engine.set_clock(plane.engine.clock() + int(seconds * 2e9))

    from vdp.engine.interface import MemoryPacket, PacketType, meta_of

    data = ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, bytes(1000)))
    packet = MemoryPacket(data, meta_of(PacketType.L3, 0x0800))
    monkeypatch.setattr(flow_query.asyncio, "sleep", pass_time)
    first, *others = ask(plane, sort="rate")
    assert told([first]) == [SENT]
    assert (first["packets_per_s"], first["bits_per_s"]) == (4.0, 4.0 * 8 * len(data))
    assert {row["packets_per_s"] for row in others} == {0.0}


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"filter": "ip.protoo=47"}, "column 1: ip has no field 'protoo'"),
        ({"filter": "packets>2, ipp.proto=47"}, "column 12: no layer is called 'ipp'"),
        ({"filter": "packets>x"}, "column 9: packets: found 'x', expected a number"),
        ({"filter": "ip.ttl>3"}, "column 1: ip.ttl can be = or !="),
        ({"filter": "speed=3"}, "column 1: nothing of a flow is called 'speed'"),
        ({"filter": "packets"}, "column 1: found 'packets'"),
        ({"filter": "ip.src=10.0.0.256"}, "column 8: source: found '10.0.0.256'"),
        ({"sort": "size"}, "expected one of packets, bytes, age, used, rate"),
        ({"limit": -1}, "limit"),
        ({"filtre": ""}, "filtre"),
    ],
)
def test_a_query_that_can_not_be_understood(params: dict[str, Any], text: str) -> None:
    with pytest.raises(ControlError) as caught:
        asyncio.run(method_table(FakeView())["flow.dump"](params))  # type: ignore[arg-type]
    assert caught.value.code == BAD_REQUEST
    assert text in caught.value.message


def test_other_work_is_done_between_rows() -> None:
    """A table of thousands: whoever waits has its turn again and again while rows are made."""
    view, turns = FakeView(), []
    view.flows *= 2000

    async def both() -> None:
        done = asyncio.Event()

        async def others() -> None:
            while not done.is_set():
                turns.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        assert len(await flow_query.dump(view, {})) == 2000
        done.set()
        await task

    asyncio.run(both())
    assert len(turns) >= 2000 // flow_query.ROWS_AT_ONCE
