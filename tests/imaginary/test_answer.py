"""What is told of an imaginary packet: who was asked, what was looked at and done, and how it ended."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.imaginary.method import trace
from vdp.packet import Packet
from vdp.quarantine import Conduct
from vdp.testing.builders import gre, ipv4, udp
from vdp.testing.paths import StaticPaths
from vdp.verdict import Verdict

SILENT = "203.0.113.9"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1024, 9), flags=0)


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane(paths=StaticPaths(silent={IPv4Address(SILENT)}))
    for name in ("underlay", "lan", "lan2"):
        plane.port(name, L3)
    plane.port("wire", L2, mac=bytes(5) + b"\1")
    plane.link("gre7", "gre", local=A, remote=B, key=7)
    plane.link("far", "gre", underlay="wire", local=A, remote=SILENT)
    plane.connect("gre7", "lan")
    plane.connect("far", "lan2")
    return plane


def ask(plane: Plane, member: str, expression: str) -> Any:
    answer = trace(plane.datapath, {"in": member, "expression": expression})
    assert json.loads(json.dumps(answer)) == answer, "plain JSON data"
    return answer


def test_a_packet_is_followed_through_the_cell(plane: Plane) -> None:
    answer = ask(plane, "underlay", "ip/gre(key=7)/ip/udp")
    assert (answer["fate"], answer["outputs"], answer["sentence"]) == (
        "forwarded",
        ["lan"],
        "forwarded to lan",
    )
    outer, inner = answer["passages"]
    assert [(end["kind"], end["member"]) for end in outer["ends"]] == [("entered", "gre7")]
    assert (inner["cause"], inner["member"], inner["parent"]) == ("cell", "gre7", 0)
    assert [(end["kind"], end["member"], end["packet"]["hex"]) for end in inner["ends"]] == [
        ("sent", "lan", INNER.hex())
    ]


def test_handlers_are_told_in_the_order_of_asking(plane: Plane) -> None:
    (passage, *_) = ask(plane, "underlay", "ip/gre(key=9)/ip/udp")["passages"]
    told = [(each["depth"], each["name"], each["verdict"]) for each in passage["handlers"]]
    assert told == [
        (0, "gre_rcv", "drop"),
        (1, "gre_cisco_rcv", "drop"),
        (2, "wccp_rcv", "reject"),
        (2, "gretap_rcv", "reject"),
        (2, "ipgre_rcv", "reject"),
    ]
    last = passage["handlers"][-1]
    assert last["reason"] == "looked at GreKey.key = 0x9 last"
    assert last["source"].startswith("protocols/gre.py:")
    assert "vdp_wccp/__init__.py:" in passage["handlers"][2]["source"]


def test_guards_and_actions_have_their_lines(plane: Plane) -> None:
    (passage, *_) = ask(plane, "underlay", "ip/gre(key=7)/ip/udp")["passages"]
    guards = {each["text"]: each["source"] for each in passage["match"]}
    assert guards["GreKey.key=00000007"].startswith("protocols/gre.py:")
    assert "length>=20" in guards
    actions = {each["text"]: each["source"] for each in passage["actions"]}
    assert "count gre_cisco/wccp_rcv.reject" in actions
    assert actions["output gre7"].startswith("links/link.py:")


def test_the_headers_of_bytes_are_named(plane: Plane) -> None:
    outer, inner = ask(plane, "underlay", "ip/gre(key=7)/ip/udp/'data'")["passages"]
    assert [tuple(span.values()) for span in outer["packet"]["headers"]] == [
        ("ip", 0, 20), ("gre", 20, 28), ("ip", 28, 48), ("udp", 48, 56), ("payload", 56, 60),
    ]  # fmt: skip
    assert [span["header"] for span in inner["packet"]["headers"]] == ["ip", "udp", "payload"]


def test_who_is_told_of_a_loss_is_a_passage_of_its_own(plane: Plane) -> None:
    answer = ask(plane, "underlay", "ip(src=192.0.2.2, dst=192.0.2.1)/gre(key=9)/ip/udp")
    assert (answer["fate"], answer["outputs"], answer["reasons"]) == ("dropped", [], ["tunnel_no_link"])
    asked, dropped = answer["passages"][0]["ends"]
    assert (asked["kind"], asked["passage"], dropped["kind"]) == ("asked", 1, "dropped")
    error = answer["passages"][1]
    (end,) = error["ends"]
    assert (error["cause"], end["kind"], end["member"]) == ("answer", "sent", "underlay")
    packet = ipv4(B, A, gre(INNER, key=9), protocol=47, flags=0)
    plane.send("underlay", packet)
    assert [sent.hex() for sent in plane.received("underlay")] == [end["packet"]["hex"]]


def test_a_limit_that_holds_an_error_back_is_told(plane: Plane) -> None:
    packet = ipv4(B, A, gre(INNER, key=9), protocol=47, flags=0)
    plane.send("underlay", *[packet] * 6)
    answer = trace(plane.datapath, {"in": "underlay", "hex": packet.hex()})
    assert "(host) allows none now" in answer["passages"][0]["ends"][0]["text"]
    assert len(answer["passages"]) == 1


def test_a_packet_that_waits_for_a_way_asks_for_none(plane: Plane) -> None:
    plane.datapath.paths.age()
    answer = ask(plane, "lan2", "ip/udp")
    assert (answer["fate"], answer["outputs"]) == ("held", [])
    assert SILENT in answer["sentence"]
    assert not plane.datapath.paths._tasks


def test_an_icmp_error_of_ours_is_consumed(plane: Plane) -> None:
    quoted = ipv4(A, B, gre(INNER, key=7), protocol=47).hex()
    answer = ask(
        plane, "underlay", f"ip(src=192.0.2.2, dst=192.0.2.1)/icmp(type=3, code=1)/payload(hex={quoted})"
    )
    assert (answer["fate"], answer["reasons"]) == ("consumed", ["icmp_error"])
    assert "IcmpInput.report" in answer["passages"][0]["ends"][0]["text"]


def test_the_megaflow_that_takes_it_is_named(plane: Plane) -> None:
    assert ask(plane, "lan", "ip/udp")["passages"][0]["flow"] is None
    plane.send("lan", INNER)
    (flow,) = plane.flows("lan")
    assert ask(plane, "lan", "ip/udp")["passages"][0]["flow"] == {"worker": 0, "id": flow.id, "agrees": True}


def test_a_megaflow_that_does_otherwise_is_what_runs_and_is_told(plane: Plane) -> None:
    plane.send("lan", INNER)
    with plane.datapath.slowpath.halted():
        plane.datapath.set_link_up("gre7", False)
        answer = ask(plane, "lan", "ip/udp")
        assert answer["passages"][0]["flow"]["agrees"] is False
        assert answer["fate"] == "forwarded"


def test_a_super_packet_is_cut_as_the_datapath_would(plane: Plane) -> None:
    params = {"in": "lan", "expression": "ip/tcp/payload(size=2500)", "segment_size": 1000}
    answer: Any = trace(plane.datapath, params)
    assert answer["passages"][0]["packet"]["segments"] == 3
    assert [end["packet"]["length"] for end in answer["passages"][0]["ends"]] == [1068, 1068, 568]


class Broken:
    """Handlers that fail."""

    @staticmethod
    def receive(packet: Packet, *args: object) -> Verdict:
        raise RuntimeError("on purpose")


def test_a_failure_is_told_and_counts_for_nothing(plane: Plane) -> None:
    plane.faults = True
    handlers = plane.datapath.registry.list("gre_cisco")
    added = handlers.add(Broken.receive, priority=1, name="broken", owner="test")
    (passage, *_) = ask(plane, "underlay", "ip/gre(key=7)/ip/udp")["passages"]
    told = {each["name"]: (each["verdict"], each["reason"]) for each in passage["handlers"]}
    verdict, reason = told["broken"]
    assert verdict == "error"
    assert "RuntimeError: on purpose" in reason
    assert (added.last_error, list(added.conduct.failures), dict(added.verdicts)) == ("", [], {})
    plane.datapath.discipline.judge(added, Conduct.disable)
    (passage, *_) = ask(plane, "underlay", "ip/gre(key=7)/ip/udp")["passages"]
    told = {each["name"]: (each["verdict"], each["reason"]) for each in passage["handlers"]}
    assert told["broken"] == ("passed_over", "disabled")
