"""`vdp capture`, `vdp drop watch`, `vdp trace live` against packets that pass."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.capture.conftest import INNER, Site, gre_packet
from tests.lab import wait_for
from vdp.capture.source import Source
from vdp.cli import main
from vdp.control.errors import BAD_REQUEST, BUSY, ControlError


def dissected(path: Path, *fields: str) -> list[list[str]]:
    """Of each packet, what tshark says; no word of it on stderr."""
    options = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=|", *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    said = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert not said
    return [line.split("|") for line in done.stdout.splitlines()]


def test_wireshark_reads_a_capture_and_its_comments(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "seen.pcapng"

    def traffic() -> None:
        site.arrive("underlay", gre_packet(), gre_packet(key=8))
        site.arrive("lan", INNER)

    # rx, decap, encap and tx of what passes, and what the other key's packet comes to.
    assert site.run(traffic, "capture", "-w", str(path), "--count", "8") == 0
    assert path.stat().st_mode & 0o777 == 0o600, "packets are for who captured them"
    rows = dissected(path, "frame.interface_name", "frame.comment", "frame.protocols")
    places = [row[0] for row in rows]
    assert sorted(places) == sorted(
        ["rx underlay", "decap gre1", "tx lan", "rx underlay", "drop underlay", "rx lan", "encap lan",
         "tx underlay"]
    )  # fmt: skip
    by_place = {row[0]: row for row in rows}
    assert "dropped at underlay: tunnel_no_link: every handler rejected it" in by_place["drop underlay"][1]
    assert "gre_cisco/ipgre_rcv reject" in by_place["drop underlay"][1]
    assert "link gre1" in by_place["decap gre1"][1]
    assert "gre_cisco/ipgre_rcv received" in by_place["decap gre1"][1]
    assert "link gre1; in by lan" in by_place["tx underlay"][1]
    assert by_place["tx underlay"][2].startswith("raw:ip:gre:ip:udp")
    assert by_place["decap gre1"][2].startswith("raw:ip:udp")


def test_a_capture_is_printed_a_line_a_packet(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run(lambda: site.arrive("lan", INNER), "capture", "--at", "encap,tx", "--count", "2") == 0
    said = capsys.readouterr()
    encap, tx = said.out.splitlines()
    assert "encap lan (gre1) IP 10.0.0.2 > 10.0.0.1: UDP 4000 > 53, length 5, 33 bytes" in encap
    assert "tx underlay (gre1) IP 192.0.2.1 > 192.0.2.2: GRE key 7: IP 10.0.0.2 > 10.0.0.1: UDP" in tx
    assert said.err == "2 packets\n"


def test_ctrl_c_ends_it_and_what_was_seen_is_told(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def traffic() -> None:
        assert site.opened.acquire(timeout=10)
        site.arrive("lan", INNER)

    monkeypatch.setattr("vdp.cli.capture._print_line", lambda seen: signal.raise_signal(signal.SIGINT))
    sending = threading.Thread(target=traffic)
    sending.start()
    assert main(["capture", "--at", "encap", "--socket", site.path]) == 0
    sending.join(10)
    assert capsys.readouterr().err == "1 packet\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_only_what_tcpdump_would_take(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    other = gre_packet(key=9)

    def traffic() -> None:
        site.arrive("underlay", gre_packet())
        site.arrive("underlay", other)

    assert site.run(traffic, "capture", "--json", "--at", "rx", "--count", "1", "ip[24:4] = 9") == 0
    assert bytes.fromhex(json.loads(capsys.readouterr().out)["data"]) == other
    assert site.run(lambda: None, "capture", "--seconds", "0.1", "--link", "gre1") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("capture", "--port", "lam"), 5, 'did you mean "lan"?'),
        (("capture", "--link", "gre2"), 5, 'did you mean "gre1"?'),
        (("drop", "watch", "--reason", "tunnel_crc"), 5, 'no drop reason "tunnel_crc"'),
        (("capture", "tcp", "pourt"), 2, "'tcp pourt' is no filter: "),
        (("capture", "--at", "middle"), 2, "no point 'middle': rx, upcall, decap, encap, tx, drop"),
        (("capture", "--count", "few"), 2, "found 'few', expected a number from 1 to 2147483648"),
        (("drop", "watch", "--seconds", "soon"), 2, "found 'soon', expected a time, such as 60s"),
        (
            ("capture", "-w", "/nowhere/seen.pcapng"),
            1,
            "/nowhere/seen.pcapng can not be written: No such file",
        ),
    ],
)
def test_what_can_not_be_captured_is_said(
    site: Site, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    try:
        found = main([*arguments, "--socket", site.path])
    except SystemExit as end:
        found = int(end.code or 0)
    assert found == code
    assert said in capsys.readouterr().err


def test_dropped_packets_a_line_each(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def traffic() -> None:
        site.arrive("lan", INNER)
        site.arrive("underlay", gre_packet(key=8))

    assert site.run(traffic, "drop", "watch", "--count", "1") == 0
    line = capsys.readouterr().out
    assert " underlay tunnel_no_link: IP 192.0.2.2 > 192.0.2.1: GRE key 8: IP 10.0.0.2 >" in line
    assert line.endswith("61 bytes (every handler rejected it: no link has these addresses and this key)\n")


def test_a_packet_is_followed_from_port_to_port(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def traffic() -> None:
        site.arrive("lan", INNER)
        site.arrive("underlay", gre_packet(), gre_packet(key=8))

    assert site.run(traffic, "trace", "live", "--port", "underlay", "--count", "2") == 0
    first, second = capsys.readouterr().out.split("packet ")[1:]
    steps = [line.split(" us ")[1].split()[:2] for line in first.splitlines() if " us " in line]
    assert steps == [["rx", "underlay"], ["decap", "gre1"], ["tx", "lan"]]
    assert "asked: " in first
    assert "tunnel_no_link: every handler rejected it" in second


def test_forwarding_loses_nothing_while_nobody_reads(site: Site) -> None:
    packet = gre_packet(inner=INNER + bytes(1000))
    before, most = site.sent("lan"), 20_000
    with Source(site.path, {"snaplen": 2000}) as source:
        for _ in range(most // 500):
            sent = site.sent("lan")
            site.arrive("underlay", *[packet] * 500)
            wait_for("what arrived to pass", lambda sent=sent: site.sent("lan") == sent + 500)
            site.collect("lan")
        assert site.sent("lan") - before == most
        assert not site.plane.drops("lan")
        source.end()
        seen = sum(len(chunk) for chunk in source.packets())
    lost = sum(source.losses.values())
    assert lost > 0
    assert seen + lost == 3 * most  # rx, decap, tx


def test_a_capture_keeps_up_with_10_000_packets_a_second(site: Site, tmp_path: Path) -> None:
    path, count, burst = tmp_path / "seen.pcapng", 4000, 100
    packet = gre_packet(inner=INNER + bytes(1000))

    def traffic() -> None:
        due = time.monotonic()
        for _ in range(count // burst):
            site.arrive("underlay", *[packet] * burst)
            site.collect("lan")
            due += burst / 10_000
            time.sleep(max(0.0, due - time.monotonic()))

    arguments = ("--at", "rx,tx", "--seconds", "3", "--count", str(2 * count), "-w", str(path))
    assert site.run(traffic, "capture", *arguments) == 0
    assert len(dissected(path, "frame.number")) > 0.9 * 2 * count


def test_so_many_captures_at_a_time_and_who_goes_gives_back_his_own(site: Site) -> None:
    sources = [Source(site.path, {}) for _ in range(8)]
    with pytest.raises(ControlError, match="as many captures as are possible") as refused:
        Source(site.path, {})
    assert refused.value.code == BUSY
    sources.pop().__exit__()  # it hangs up, without a word

    def opened() -> Source | None:
        try:
            return Source(site.path, {})
        except ControlError:
            return None

    sources.append(wait_for("the tap to be free", opened))
    for source in sources:
        source.end()
        assert not [seen for chunk in source.packets() for seen in chunk]
        source.__exit__()


def test_an_end_after_the_daemon_s_is_none_either(site: Site) -> None:
    with Source(site.path, {}) as source:
        source._socket.shutdown(socket.SHUT_RDWR)
        source.end()
        assert not [seen for chunk in source.packets() for seen in chunk]


@pytest.mark.parametrize(
    "wanted",
    [
        {"at": []}, {"at": "rx"}, {"at": ["middle"]}, {"at": [["rx"]]}, {"snaplen": -1}, {"count": True},
        {"filters": [[]]}, {"filters": [[[6, 0, 0]], []]}, {"filters": [[[6, 0, 0, -1]], []]},
        {"filters": [[[5, 0, 0, 7]], []]}, {"follow": 1}, {"other": 1}, {"reasons": "none"},
        {"reasons": [["none"]]}, {"port": ["lan"]}, {"link": {}},
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused(site: Site, wanted: dict[str, object]) -> None:
    with pytest.raises(ControlError) as refused:
        Source(site.path, wanted)
    assert refused.value.code == BAD_REQUEST
