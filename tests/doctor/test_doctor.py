"""`vdp doctor` and planted faults: each is found, with what mends it; what is well is not complained of."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.fake_view import FakeView
from tests.lab import REPOSITORY, Host, Lab
from vdp import __version__
from vdp.cli.daemon import checked
from vdp.control.errors import UNKNOWN_METHOD, ControlError
from vdp.control.methods import method_table
from vdp.doctor.configured import Configured
from vdp.doctor.daemon import Running
from vdp.doctor.daemon import daemon as daemon_checks
from vdp.doctor.environment import environment
from vdp.doctor.machine import Device, Machine, Namespace, _device
from vdp.doctor.result import Result, verdict
from vdp.netlink import namespaces

pytestmark = pytest.mark.root

# linux/if_tun.h
TUNSETIFF, TUNSETCARRIER, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x400454E2, 0x2, 0x1000
BELOW = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
MACHINE = Machine()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    """A host with a device eth0, the address LOCAL, and a neighbour that is REMOTE."""
    here, there = lab.host("here"), lab.host("there")
    lab.cable(here, f"{LOCAL}/24", there, f"{REMOTE}/24")
    return here


def configuration(
    host: Host, underlay: str = 'protocol = "gre"', tap: str = "mtu = 1458", link: str = ""
) -> str:
    return f"""\
[[port]]
name = "tap0"
type = "tap"
netns = "{host.name}"
{tap}
[[port]]
name = "underlay"
type = "raw"
{underlay}
{f'netns = "{host.name}"' if "netns" not in underlay else ""}
[[link]]
name = "gt0"
kind = "gretap"
underlay = "underlay"
key = 4
{link or f'local = "{LOCAL}"{chr(10)}remote = "{REMOTE}"'}
[[bridge]]
name = "br0"
members = ["tap0", "gt0"]
[plugins]
load = ["gre", "gretap"]
[metrics]
listen = "127.0.0.1:0"
"""


def complaints(
    text: str,
    folder: Path,
    machine: Machine = MACHINE,
    *,
    running: bool = False,
    beside: Running | None = None,
) -> list[Result]:
    """What is not well of that configuration."""
    path = folder / "vdp.toml"
    path.write_text(text)
    config, plugins = checked(path)
    found = Configured(config, plugins.kinds, machine, running=running, beside=beside).results()
    return [each for each in found if each.status != "ok"]


def mend(result: Result) -> None:
    """Do what the fix says."""
    subprocess.run(["sh", "-c", result.fix], check=True, timeout=10, capture_output=True)


def test_what_is_well_is_not_complained_of(host: Host, tmp_path: Path) -> None:
    assert complaints(configuration(host), tmp_path) == []
    assert complaints(configuration(host, 'interface = "eth0"'), tmp_path) == []


def test_a_device_that_is_absent(host: Host, tmp_path: Path) -> None:
    (found,) = complaints(configuration(host, 'interface = "eht0"'), tmp_path)
    assert (found.check, found.status) == ("device-absent", "fail")
    assert 'interface = "eth0"' in found.fix


def test_a_device_that_is_down(host: Host, tmp_path: Path) -> None:
    host.ip("link", "set", "eth0", "down")
    text = configuration(
        host,
        'interface = "eth0"',
        link='remote = "any"\nallow_any_remote = true\ninner_allowed = ["10.0.0.0/8"]',
    )
    (found,) = complaints(text, tmp_path)
    assert (found.check, found.status) == ("device-down", "fail")
    mend(found)
    assert complaints(text, tmp_path) == []


def test_a_device_that_is_in_another_namespace(lab: Lab, host: Host, tmp_path: Path) -> None:
    other = lab.host("other")
    other.ip("link", "add", "wan7", "type", "veth", "peer", "name", "wan8")
    found = complaints(configuration(host, 'interface = "wan7"'), tmp_path)
    assert (found[0].check, found[0].status) == ("netns", "fail")
    assert found[0].fix == f'netns = "{other.name}" on the port'
    elsewhere = configuration(host, f'interface = "eth0"\nnetns = "{host.name}-gone"')
    (found_gone,) = complaints(elsewhere, tmp_path)
    assert (found_gone.check, found_gone.fix) == ("netns", f"ip netns add {host.name}-gone")


def test_an_mtu_that_is_larger_than_the_tunnels(host: Host, tmp_path: Path) -> None:
    # 1500 less IPv4 20, GRE 4 and key 4, Ethernet 14.
    (found,) = complaints(configuration(host, tap="mtu = 1500"), tmp_path)
    assert (found.check, found.status, found.fix) == ("mtu", "warn", "mtu = 1458 on the port tap0")
    (default,) = complaints(configuration(host, tap=""), tmp_path)
    assert default.fix == found.fix
    ends = f'local = "{LOCAL}"\nremote = "{REMOTE}"\n'
    (too_large,) = complaints(configuration(host, link=ends + "mtu = 1470"), tmp_path)
    assert too_large.fix == "mtu = 1458 on the link, or take it away"
    (underlay,) = complaints(configuration(host, 'interface = "eth0"\nmtu = 9000'), tmp_path)
    assert (underlay.check, underlay.status) == ("mtu", "fail")


def test_gro_in_front_of_a_port_that_takes_no_super_packets(host: Host, tmp_path: Path) -> None:
    host.run("ethtool", "-K", "eth0", "gro", "on")
    text = configuration(host, 'interface = "eth0"\noffload = false')
    (found,) = complaints(text, tmp_path)
    assert (found.check, found.status) == ("gro", "warn")
    assert complaints(configuration(host, 'interface = "eth0"'), tmp_path) == []
    mend(found)
    assert complaints(text, tmp_path) == []


def test_reverse_path_filtering(host: Host, tmp_path: Path) -> None:
    host.run("sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=1")
    (found,) = complaints(configuration(host), tmp_path)
    assert (found.check, found.status) == ("rp-filter", "warn")
    mend(found)
    assert complaints(configuration(host), tmp_path) == []


def test_a_tap_that_was_left_over(host: Host, tmp_path: Path) -> None:
    host.ip("tuntap", "add", "tap0", "mode", "tap")
    (found,) = complaints(configuration(host), tmp_path)
    assert (found.check, found.status) == ("stale-tap", "fail")
    assert complaints(configuration(host), tmp_path, running=True) == [], "it is the daemon's own"
    assert "stays" in found.sentence
    mend(found)
    assert complaints(configuration(host), tmp_path) == []


@pytest.mark.parametrize("persistent", [False, True])
def test_a_tap_that_a_process_has_is_not_left_over(host: Host, tmp_path: Path, persistent: bool) -> None:
    """Nor is it if it stays and is down, or goes with its process and was told to have no carrier."""
    if persistent:
        host.ip("tuntap", "add", "tap0", "mode", "tap")
    tap = namespaces.run_in(host.name, lambda: attach("tap0"))
    try:
        fcntl.ioctl(tap, TUNSETCARRIER, struct.pack("=i", persistent))
        (found,) = complaints(configuration(host), tmp_path)
        assert (found.check, found.status) == ("name-clash", "fail")
        assert "a running process has" in found.sentence
        assert "delete" not in found.fix
        ours = Running(1, tmp_path / "other.toml", frozenset({("tap0", host.name)}))
        assert complaints(configuration(host), tmp_path, beside=ours) == [], "a reload takes it over"
        theirs = Running(1, tmp_path / "other.toml", frozenset({("tap0", None)}))
        assert complaints(configuration(host), tmp_path, beside=theirs) == [found]
    finally:
        os.close(tap)
    if persistent:
        (found,) = complaints(configuration(host), tmp_path)
        assert found.check == "stale-tap"
        mend(found)


def attach(name: str) -> int:
    """A TAP of that name, and a descriptor of it."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def test_a_name_that_another_device_has(host: Host, tmp_path: Path) -> None:
    host.ip("link", "add", "tap0", "type", "veth", "peer", "name", "tap0-peer")
    try:
        (found,) = complaints(configuration(host), tmp_path)
    finally:
        host.ip("link", "delete", "tap0")
    assert (found.check, found.status) == ("name-clash", "fail")


def test_a_port_that_somebody_listens_on(host: Host, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        text = configuration(host).replace("127.0.0.1:0", f"127.0.0.1:{number}")
        (found,) = complaints(text, tmp_path)
        assert (found.check, found.status) == ("port-clash", "fail")
        assert str(number) in found.fix
        ours = Running(1, tmp_path / "other.toml", metrics=f"127.0.0.1:{number}")
        assert complaints(text, tmp_path, beside=ours) == []
        assert complaints(text, tmp_path, running=True) == []
    assert complaints(text, tmp_path) == []


def test_an_address_that_no_device_has_and_a_remote_without_a_route(host: Host, tmp_path: Path) -> None:
    link = 'local = "198.51.100.1"\nremote = "203.0.113.9"'
    local, remote = complaints(configuration(host, link=link), tmp_path)
    assert (local.check, remote.check) == ("local-address", "route")
    assert "ip address add 198.51.100.1" in local.fix
    assert "ip route add 203.0.113.9" in remote.fix


class Other(Machine):
    """A machine unlike this one."""

    def release(self) -> str:
        return "5.4.0-150-generic"

    def clock(self) -> str:
        return "hpet"

    def devices(self, netns: Namespace) -> dict[str, Device]:
        gre = Device("gre0", 1476, up=True, driver="gre", gro=False, lro=False)
        return super().devices(netns) | {"gre0": gre}


def test_tunnels_of_the_kernel_beside_ours(host: Host, tmp_path: Path) -> None:
    found = [
        each for each in complaints(configuration(host), tmp_path, Other()) if each.check == "kernel-gre"
    ]
    assert [each.status for each in found] == ["warn"]
    assert found[0].fix.endswith("ip link set gre0 down")


def test_an_old_kernel_and_a_slow_clock() -> None:
    found = {each.check: each for each in environment(Other())}
    assert (found["kernel"].status, found["clock"].status) == ("warn", "warn")
    assert "6.6" in found["kernel"].fix
    assert {each.check: each.status for each in environment(Machine())}["kernel"] == "ok"


def doctor(*before: str, config: Path | None = None) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Run as users do, behind a command that takes something away; exit code and answer."""
    command = [*before, sys.executable, "-m", "vdp", "doctor", "--json", "--socket", "/nonexistent/vdp.sock"]
    command += ["-c", str(config)] if config else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=BELOW)
    return done.returncode, json.loads(done.stdout)


def test_no_tun_node() -> None:
    script = 'mount -t tmpfs none /dev/net && exec "$@"'
    code, answer = doctor("unshare", "-m", "sh", "-c", script, "sh")
    found, absent = [each for each in answer["checks"] if each["status"] == "fail"]
    assert (code, found["check"], absent["check"]) == (1, "tun-node", "no-daemon")
    assert "mknod" in found["fix"]


def test_a_missing_capability() -> None:
    code, answer = doctor("setpriv", "--bounding-set", "-net_raw,-sys_admin")
    found = {each["sentence"].split()[0]: each for each in answer["checks"] if each["status"] != "ok"}
    assert code == 1
    assert (found["CAP_NET_RAW"]["status"], found["CAP_SYS_ADMIN"]["status"]) == ("fail", "warn")
    assert "--cap-add NET_RAW" in found["CAP_NET_RAW"]["fix"]


def test_a_configuration_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[[port]]\nnmae = 1\n")
    code, answer = doctor(config=path)
    (found,) = [each for each in answer["checks"] if each["check"] == "configuration"]
    assert (code, found["fix"]) == (1, f"vdp check -c {path}")


def test_a_daemon_that_runs_is_asked(lab: Lab, host: Host) -> None:
    daemon = lab.vdp(host, configuration(host).replace(f'netns = "{host.name}"', ""))
    command = host.command(sys.executable, "-m", "vdp", "doctor", "--socket", str(daemon.socket))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=BELOW)
    assert done.returncode == 0, done.stdout + done.stderr + daemon.process.said()
    assert "answers, for" in done.stdout
    assert "port tap0: as it should be" in done.stdout, "its file is looked at, and its own TAP is not stale"
    assert done.stderr.startswith("vdp: all well (")
    # A copy of its file, that is to replace it: what the daemon has is no clash.
    copy = daemon.socket.with_suffix(".copy")
    copy.write_text(daemon.socket.with_suffix(".toml").read_text())
    live = host.command(sys.executable, "-m", "vdp", "check", "--live", "-c", str(copy))
    done = subprocess.run(live, capture_output=True, text=True, timeout=30, env=BELOW)
    assert done.returncode == 0, done.stdout + done.stderr
    # From another namespace it finds the same, and says so.
    done = subprocess.run(command[-6:], capture_output=True, text=True, timeout=30, env=BELOW)
    assert done.returncode == 0, done.stdout
    assert f"the daemon (pid {daemon.process.pid}) runs in another network namespace" in done.stdout
    assert f"nsenter -t {daemon.process.pid} -n" in done.stdout


def test_a_socket_that_a_dead_daemon_left(tmp_path: Path) -> None:
    path = tmp_path / "vdp.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    (found,) = daemon_checks(str(path))
    assert (found.check, found.status) == ("no-daemon", "fail")
    assert "vdp -c FILE" in found.fix
    (still,) = daemon_checks(str(path), expected=False)
    assert still.status == "fail", "one ran, and it is gone"


def test_no_daemon_is_a_fault_but_for_who_looks_at_a_file(tmp_path: Path) -> None:
    path = tmp_path / "vdp.sock"
    (found,) = daemon_checks(str(path))
    assert (found.status, found.sentence) == ("fail", f"no daemon answers at {path}")
    assert found.fix == "vdp -c FILE, or systemctl status vdp"
    assert verdict([found]) == f"1 fault in 1 checks: no daemon answers at {path}"
    (none_yet,) = daemon_checks(str(path), expected=False)
    assert none_yet.status == "ok"
    assert verdict([none_yet]).startswith(f"all well (1 checks); no daemon answers at {path}")
    file = tmp_path / "vdp.toml"
    file.write_text(f'[control]\nsocket = "{path}"\n[metrics]\nenabled = false\n')
    named, below = ["-c", str(file)], BELOW | {"VDP_SOCKET": str(path)}
    for arguments, status in ((named, "ok"), ([], "fail"), ([*named, "--socket", str(path)], "fail")):
        asked = [sys.executable, "-m", "vdp", "doctor", "--json", *arguments]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, env=below)
        (said,) = [each for each in json.loads(done.stdout)["checks"] if each["check"] == "no-daemon"]
        assert (said["status"], str(path) in said["sentence"]) == (status, True)


def test_the_daemon_s_own_findings_are_what_it_complains_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has heard and seen for longer than a command can; an older one is looked at twice instead."""
    view = FakeView()
    view.state["version"] = __version__
    answers = method_table(view)
    silent = {"severity": "bad", "subject": "link gt1", "sentence": "It heard nothing.", "command": "look"}

    def own(path: str, method: str, params: dict[str, Any] | None = None) -> Any:
        if method == "finding.list":
            return [silent]
        return answers[method](params or {})

    def older(path: str, method: str, params: dict[str, Any] | None = None) -> Any:
        if method == "finding.list":
            raise ControlError(UNKNOWN_METHOD, "no such method")
        return answers[method](params or {})

    monkeypatch.setattr("vdp.control.remote.call", own)
    told = [each for each in daemon_checks("socket") if each.check == "running"]
    assert [(each.status, each.sentence, each.fix) for each in told] == [
        ("fail", "link gt1: It heard nothing.", "look")
    ]
    monkeypatch.setattr("vdp.control.remote.call", older)
    told = [each for each in daemon_checks("socket") if each.check == "running"]
    assert any("192.0.2.254 says by ICMP" in each.sentence for each in told)


def test_the_verdict_is_one_line() -> None:
    ok, warn, fail = Result("a", "ok", ""), Result("b", "warn", ""), Result("c", "fail", "")
    assert verdict([ok, ok]) == "all well (2 checks)"
    assert verdict([ok, warn]) == "1 warning in 2 checks: it runs"
    assert verdict([fail, fail, warn]) == "2 faults, 1 warning in 3 checks"


def test_a_device_s_name_may_be_any_bytes() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, pytest.raises(OSError, match="No such"):
        _device(asked, os.fsdecode(b"no\xff"))
