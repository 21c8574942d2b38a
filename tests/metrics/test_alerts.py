"""The alerting rules, evaluated by Prometheus' own tool: each fires where it should, and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab import REPOSITORY
from vdp.metrics.catalogue import CATALOGUE

RULES = REPOSITORY / "etc" / "prometheus" / "vdp.rules.yml"
JOB = 'job="vdp",instance="edge1"'
#: Of `up` and the client library.
OTHERS = {"up", "process_start_time_seconds"}


def series(name: str, values: str, labels: str = "") -> dict[str, str]:
    """values: in promtool's notation, one a minute: 0+60x9 is 0, 60 … 540."""
    return {"series": f"{name}{{{','.join(filter(None, [JOB, labels]))}}}", "values": values}


@dataclass(frozen=True)
class Case:
    """Series with which an alert fires after `minutes`, and series with which it does not."""

    alert: str
    firing: list[dict[str, str]]
    silent: list[dict[str, str]]
    labels: dict[str, str] = field(default_factory=dict)
    minutes: int = 20


INFO = [
    series("vdp_port_info", "1x30", 'port="wan",type="raw"'),
    series("vdp_port_info", "1x30", 'port="gt0",type="gro-cell"'),
    # A link's cell sees each packet again: it must not count.
    series("vdp_port_receive_packets_total", "0+100000x30", 'port="gt0"'),
]


def port(name: str, values: str, of: str = "wan") -> dict[str, str]:
    return series(f"vdp_port_{name}", values, f'port="{of}"')


def drops(reason: str, values: str) -> dict[str, str]:
    return series("vdp_drops_total", values, f'port="wan",reason="{reason}"')


def worker(name: str, values: str) -> dict[str, str]:
    return series(f"vdp_worker_{name}", values, 'worker="0"')


def link(name: str, values: str) -> dict[str, str]:
    return series(f"vdp_link_{name}", values, 'link="gt0"')


def handler(name: str, values: str) -> dict[str, str]:
    return series(f"vdp_handler_{name}", values, 'list="gre_cisco",handler="h"')


HANDLER = {"list": "gre_cisco", "handler": "h"}
TRAFFIC = [*INFO, port("receive_packets_total", "0+60000x30")]
SENDING = [link("transmit_packets_total", "0+60x30"), link("up", "1x30")]
LOOKUPS = series("vdp_flow_lookups_total", "0+1000x30", 'result="wildcard"')
CASES = [
    Case("VdpDown", [series("up", "1x5 0x20")], [series("up", "1x30")]),
    Case("VdpNotReady", [series("vdp_ready", "0x30")], [series("vdp_ready", "0 0 1x30")]),
    Case(
        "VdpCrashLooping",
        [series("process_start_time_seconds", "100 100 300 400 500 600 700x20")],
        [series("process_start_time_seconds", "100x5 500x20")],
        minutes=8,
    ),
    Case(
        "VdpWorkerStalled",
        [worker("iterations_total", "500x30"), port("kernel_drops_total", "0+60x30")],
        [worker("iterations_total", "500x30"), port("kernel_drops_total", "7x30")],  # nothing to do
        {"worker": "0"},
    ),
    Case(
        "VdpWorkerSaturated",
        [worker("busy_seconds_total", "0+58x30"), worker("idle_seconds_total", "0+2x30")],
        [worker("busy_seconds_total", "0+30x30"), worker("idle_seconds_total", "0+30x30")],
        {"worker": "0"},
    ),
    Case("VdpPortDown", [port("up", "0x30")], [port("up", "0 1x30")], {"port": "wan"}),
    Case(
        "VdpPortNoCarrier",
        [port("carrier", "0x30"), port("up", "1x30")],
        [port("carrier", "0x30"), port("up", "0x30")],
        {"port": "wan"},
    ),
    Case(
        "VdpKernelDrops",
        [port("kernel_drops_total", "0+1200x30")],
        [port("kernel_drops_total", "0+60x30")],
        {"port": "wan"},
    ),
    Case(
        "VdpDropRatioHigh",
        [*TRAFFIC, drops("no_route", "0+1200x30")],
        [*TRAFFIC, drops("no_route", "0+300x30"), drops("policy_rule", "0+9000x30")],
    ),
    Case(
        "VdpUpcallsLost",
        [series("vdp_upcalls_lost_total", "0+60x30")],
        [series("vdp_upcalls_lost_total", "500x30")],
    ),
    Case(
        "VdpFlowTableNearLimit",
        [series("vdp_flow_entries", "900x30"), series("vdp_flow_entries_limit", "1000x30")],
        [series("vdp_flow_entries", "700x30"), series("vdp_flow_entries_limit", "1000x30")],
    ),
    Case(
        "VdpMaskProbesHigh",
        [series("vdp_flow_mask_probes_total", "0+20000x30"), LOOKUPS],
        [series("vdp_flow_mask_probes_total", "0+2000x30"), LOOKUPS],
    ),
    Case(
        "VdpHandlerQuarantined",
        [handler("passed_over", "1x30")],
        [handler("passed_over", "0x30")],
        HANDLER,
    ),
    Case(
        "VdpHandlerExceptions",
        [handler("exceptions_total", "0+6x30"), handler("timeouts_total", "0x30")],
        [handler("exceptions_total", "6x30"), handler("timeouts_total", "2x30")],
        HANDLER,
    ),
    Case(
        "VdpLinkSilent",
        [*SENDING, link("receive_packets_total", "9x30")],
        [*SENDING, link("receive_packets_total", "0+1x30")],
        {"link": "gt0"},
    ),
    Case(
        "VdpLinkUnreachable",
        [series("vdp_link_icmp_errors_total", "0+2x30", 'link="gt0",effect="failure"')],
        [series("vdp_link_icmp_errors_total", "0+2x30", 'link="gt0",effect="path_mtu"')],
        {"link": "gt0", "effect": "failure"},
    ),
    Case(
        "VdpStrangersAtTunnels",
        [drops("tunnel_no_link", "0+120x30")],
        [drops("tunnel_no_link", "0+30x30"), drops("no_route", "0+900x30")],
    ),
    Case(
        "VdpFlowsRefused",
        [series("vdp_flow_refusals_total", "0+60x30")],
        [series("vdp_flow_refusals_total", "500x30")],
    ),
    Case(
        "VdpBridgeNearLimit",
        [series("vdp_bridge_addresses", "60000x30", 'bridge="br0"')],
        [series("vdp_bridge_addresses", "50000x30", 'bridge="br0"')],
        {"bridge": "br0"},
    ),
    Case(
        "VdpNetlinkOverruns",
        [series("vdp_netlink_overruns_total", "0+1x30", 'netns="blue"')],
        [series("vdp_netlink_overruns_total", "0 1x10 2x20", 'netns="blue"')],
        {"netns": "blue"},
    ),
    Case(
        "VdpErrorsLogged",
        [series("vdp_log_messages_total", "0x10 1x20", 'level="error"')],
        [series("vdp_log_messages_total", "0+9x30", 'level="warning"')],
        {"level": "error"},
    ),
    Case(
        "VdpConfigReloadFailed",
        [series("vdp_config_last_reload_successful", "1 1 0x30")],
        [series("vdp_config_last_reload_successful", "1x30")],
    ),
]  # fmt: skip


def severities() -> dict[str, str]:
    return dict(re.findall(r"alert: (\w+)[\s\S]*?severity: (\w+)", RULES.read_text()))


def test_every_alert_has_a_case() -> None:
    assert sorted(severities()) == sorted(case.alert for case in CASES)


def test_rules_name_metrics_that_there_are() -> None:
    known = {metric.name for metric in CATALOGUE} | OTHERS
    named = set(re.findall(r"\b(?:vdp_[a-z_]+|up|process_[a-z_]+)\b(?=[{\[\s)=])", _expressions()))
    assert named
    assert named <= known, named - known


def _expressions() -> str:
    """What stands behind `expr:`, whole."""
    return "\n".join(re.findall(r"expr: ((?:\|\n(?: {10}.*\n)+)|.*\n)", RULES.read_text()))


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("is_firing", [True, False], ids=["fires", "is silent"])
def test_alerts(tmp_path: Path, is_firing: bool) -> None:
    """In one run of promtool: of what is not as it should be, it prints the series."""
    promtool("test", "rules", str(written(tmp_path, [_tested(case, is_firing) for case in CASES])))


def test_a_wrong_expectation_fails(tmp_path: Path) -> None:
    """The two above can fail."""
    case = CASES[0]
    wrong = {**_tested(case, True), "input_series": case.silent}
    with pytest.raises(subprocess.CalledProcessError):
        promtool("test", "rules", str(written(tmp_path, [wrong])))


def _tested(case: Case, is_firing: bool) -> dict[str, Any]:
    labels = {"alertname": case.alert, "alertstate": "firing", "severity": severities()[case.alert]}
    labels |= {"job": "vdp", "instance": "edge1"} | case.labels
    text = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return {
        "interval": "1m",
        "name": case.alert,
        "input_series": case.firing if is_firing else case.silent,
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{case.alert}"}}',
                "eval_time": f"{case.minutes}m",
                "exp_samples": [{"labels": f"ALERTS{{{text}}}", "value": 1}] if is_firing else [],
            }
        ],
    }


def written(folder: Path, tests: list[dict[str, Any]]) -> Path:
    """Tests as promtool reads them: JSON is YAML."""
    path = folder / "alerts.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    return path


def promtool(*arguments: str) -> None:
    subprocess.run(["promtool", *arguments], check=True, capture_output=True, text=True, timeout=60)
