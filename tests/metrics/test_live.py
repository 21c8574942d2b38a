"""A daemon with faults, and a real Prometheus that scrapes it and evaluates the alerting rules."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.lab import REPOSITORY, Daemon, Host, Lab, wait_for
from vdp.metrics.catalogue import CATALOGUE
from vdp.netlink import namespaces

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

METRICS, PROMETHEUS = "127.0.0.1:9479", "127.0.0.1:9090"
CONFIGURATION = f"""
[[port]]
name = "underlay"
type = "raw"
interface = "eth0"
[[port]]
name = "spare"
type = "raw"
interface = "eth1"
[[port]]
name = "tap0"
type = "tap"
netns = "INNER"
address = ["10.0.0.1/24"]
[[link]]
name = "gt0"
kind = "gretap"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "underlay"
key = 7
[[bridge]]
name = "br0"
members = ["tap0", "gt0", "spare"]
[plugins]
load = ["gre", "gretap", "broken"]
[metrics]
listen = "{METRICS}"
"""
PLUGIN = '''
"""Raises on GRE packets of one protocol."""
from vdp.api import Datapath, IPv4, Packet, TunnelInfo, Verdict, hookimpl

vdp_api = 1


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        if info.protocol == 0x4242:
            raise ValueError("this plugin is broken")
        return Verdict.REJECT

    datapath.registry.list("gre_cisco").add(receive, priority=210, name="broken_rcv", owner="broken")
'''
#: GRE of a protocol that the plugin raises on, and with a key that no link has, some fifty times a second.
STRANGER = """
import socket, time
with socket.socket(socket.AF_INET, socket.SOCK_RAW, 47) as raw:
    while True:
        for gre in ("00004242", "2000655800000063"):
            raw.sendto(bytes.fromhex(gre) + bytes(20), ("192.0.2.1", 0))
        time.sleep(0.02)
"""
PROVOKED = {
    "VdpConfigReloadFailed",
    "VdpDropRatioHigh",
    "VdpHandlerExceptions",
    "VdpLinkSilent",
    "VdpPortNoCarrier",
    "VdpStrangersAtTunnels",
}
#: What may follow from the same faults, sooner or later.
FOLLOWING = {"VdpErrorsLogged", "VdpHandlerQuarantined", "VdpLinkUnreachable", "VdpNotReady"}


@pytest.fixture
def faulty(lab: Lab, tmp_path: Path) -> tuple[Daemon, Host, Host]:
    """A daemon with a plugin that may fail, the host at the other end, and the one behind its TAP."""
    packages = tmp_path / "packages"
    info = packages / "vdp_broken-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vdp-broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vdp]\nbroken = vdp_broken\n")
    (packages / "vdp_broken.py").write_text(PLUGIN)
    lab.packages.append(packages)
    host, peer, inner = lab.host("vdp"), lab.host("peer"), lab.host("inner")
    lab.cable(host, "192.0.2.1/24", peer, "192.0.2.2/24")
    lab.cable(host, "", peer, "", names=("eth1", "eth1"))
    return lab.vdp(host, CONFIGURATION.replace("INNER", inner.name)), peer, inner


def quick(folder: Path) -> Path:
    """The rules with ranges and waits of seconds, and a configuration of Prometheus that has them."""
    rules = (REPOSITORY / "etc" / "prometheus" / "vdp.rules.yml").read_text()
    rules = re.sub(r"\[\d+m\]", "[3s]", re.sub(r"for: \d+[ms]", "for: 1s", rules))
    (folder / "rules.yml").write_text(rules)
    path = folder / "prometheus.yml"
    path.write_text(
        json.dumps(
            {
                "global": {
                    "scrape_interval": "500ms",
                    "scrape_timeout": "400ms",
                    "evaluation_interval": "500ms",
                },
                "rule_files": [str(folder / "rules.yml")],
                "scrape_configs": [{"job_name": "vdp", "static_configs": [{"targets": [METRICS]}]}],
            }
        )
    )
    return path


def fetch(host: Host, url: str, **headers: str) -> tuple[str, str]:
    """The type and the text of what a host's own address serves."""

    def ask() -> tuple[str, str]:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    return namespaces.run_in(host.name, ask)


def firing(host: Host) -> set[str]:
    """The alerts that fire now."""
    _, text = fetch(host, f"http://{PROMETHEUS}/api/v1/alerts")
    alerts = json.loads(text)["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def is_healthy(host: Host) -> bool:
    """Whether the daemon has been scraped, and was ready, for two seconds."""
    query = urllib.parse.quote("count_over_time(vdp_ready[2s]) >= 3 and min_over_time(vdp_ready[2s]) == 1")
    try:
        _, text = fetch(host, f"http://{PROMETHEUS}/api/v1/query?query={query}")
    except OSError:  # it starts
        return False
    return bool(json.loads(text)["data"]["result"])


@pytest.mark.conformance("J")
def test_faults_raise_their_alerts_and_nothing_else_does(
    lab: Lab, faulty: tuple[Daemon, Host, Host], tmp_path: Path
) -> None:
    daemon, peer, inner = faulty
    host = daemon.host
    host.start(
        "prometheus", f"--config.file={quick(tmp_path)}", f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={PROMETHEUS}", "--log.level=warn",
    )  # fmt: skip
    wait_for("a scrape", lambda: is_healthy(host), 20)
    assert firing(host) == set()

    check_scrapes(host)
    peer.start(sys.executable, "-c", STRANGER, name="stranger")
    inner.start("ping", "-i", "0.2", "10.0.0.2")
    peer.ip("link", "set", "eth1", "down")
    path = daemon.socket.with_suffix(".toml")
    good = path.read_text()
    path.write_text(good.replace("gretap", "gretpa"))
    os.kill(daemon.process.pid, signal.SIGHUP)

    seen: set[str] = set()

    def all_fire() -> bool:
        seen.update(now := firing(host))
        return now >= PROVOKED

    try:
        wait_for("the alerts", all_fire, 30)
    except AssertionError as error:
        error.add_note(f"never fired: {PROVOKED - seen}")
        raise
    assert seen <= PROVOKED | FOLLOWING, seen
    host.ip("link", "delete", "eth1")
    wait_for("VdpPortDown", lambda: "VdpPortDown" in firing(host), 15)
    path.write_text(good)
    os.kill(daemon.process.pid, signal.SIGHUP)
    wait_for("the reload's alert to end", lambda: "VdpConfigReloadFailed" not in firing(host), 15)
    os.kill(daemon.process.pid, signal.SIGKILL)
    wait_for("VdpDown", lambda: "VdpDown" in firing(host), 15)


def check_scrapes(host: Host) -> None:
    """A running daemon serves the catalogue's families, of which promtool thinks well; OpenMetrics, too."""
    url = f"http://{METRICS}/metrics"
    kind, text = fetch(host, url)
    assert kind.startswith("text/plain")
    own = dict(re.findall(r"^# TYPE (vdp_\S+) (\S+)$", text, re.MULTILINE))
    assert own == {metric.name: metric.type for metric in CATALOGUE}
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    kind, text = fetch(host, url, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    assert {metric.name.removesuffix("_total") for metric in CATALOGUE} <= families
