"""What a scrape says is what the view says, by the catalogue and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.control.fake_view import FakeView, port, worker
from vdp.config.values import Listen
from vdp.engine.native import engine_reasons
from vdp.metrics.catalogue import CATALOGUE
from vdp.metrics.collector import COMMON_REASONS, DROP_SERIES, DatapathCollector
from vdp.metrics.reference import page
from vdp.metrics.server import MetricsServer
from vdp.status import History

PROMTOOL = shutil.which("promtool")


def registry(view: FakeView, drop_series: int = DROP_SERIES) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(DatapathCollector(view, drop_series))
    return registry


def scrape(view: FakeView) -> str:
    return generate_latest(registry(view)).decode()


def value(view: FakeView, name: str, **labels: str) -> float | None:
    return registry(view).get_sample_value(name, labels)


def test_the_scrape_has_the_families_of_the_catalogue_and_no_other() -> None:
    text = scrape(FakeView())
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    assert types == {metric.name: metric.type for metric in CATALOGUE}
    assert helps == {metric.name: metric.help for metric in CATALOGUE}


def test_what_a_plugin_counts_has_families_of_its_own() -> None:
    view, name = FakeView(), "vdp_plugin_gre_odd"
    for tos, packets in (("7", 3), ("8", 5)):
        view.plugins[0]["counters"].append(
            {"name": name, "text": "Odd.", "labels": {"tos": tos}, "packets": packets, "bytes": packets * 10}
        )
    assert value(view, f"{name}_packets_total", tos="8") == 5
    assert value(view, f"{name}_bytes_total", tos="7") == 30
    assert f"# TYPE {name}_bytes_total counter\n" in scrape(view)
    assert f"# HELP {name}_packets_total Odd.\n" in scrape(view)


def test_every_series_has_the_labels_of_the_catalogue() -> None:
    labels = {metric.name: set(metric.labels) for metric in CATALOGUE}
    seen = set()
    for family in registry(FakeView()).collect():
        for sample in family.samples:
            name = re.sub(r"_(bucket|count|sum)$", "", sample.name)
            assert sample.labels.keys() - {"le"} == labels[name], sample.name
            seen.add(name)
    assert seen == labels.keys(), "the fake view has something for each family"


def test_promtool_has_nothing_to_say() -> None:
    assert PROMTOOL, "promtool is not installed (tools/debian.sh test)"
    result = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=scrape(FakeView()), capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_openmetrics_is_well_formed() -> None:
    text = generate_openmetrics(registry(FakeView())).decode()  # type: ignore[no-untyped-call]
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert len(list(families)) == len(CATALOGUE)


@pytest.mark.conformance("A15", "J")
@pytest.mark.parametrize(
    ("name", "labels", "wanted"),
    [
        ("vdp_ready", {}, 1),
        ("vdp_port_info", {"port": "tap0", "type": "tap", "device": "tap0", "netns": ""}, 1),
        ("vdp_port_up", {"port": "underlay"}, 0),
        ("vdp_port_carrier", {"port": "tap0"}, 1),
        ("vdp_port_carrier", {"port": "gt1"}, None),
        ("vdp_port_mtu_bytes", {"port": "tap0"}, 1462),
        ("vdp_port_receive_frames_total", {"port": "tap0"}, 10),
        ("vdp_port_receive_packets_total", {"port": "tap0"}, 30),
        ("vdp_port_receive_bytes_total", {"port": "tap0"}, 1000),
        ("vdp_port_transmit_frames_total", {"port": "tap0"}, 4),
        ("vdp_port_transmit_packets_total", {"port": "tap0"}, 5),
        ("vdp_port_transmit_bytes_total", {"port": "tap0"}, 400),
        ("vdp_port_held_frames", {"port": "underlay"}, 2),
        ("vdp_port_offered_frames_total", {"port": "tap0"}, 4),
        ("vdp_port_dropped_frames_total", {"port": "underlay", "direction": "receive"}, 7),
        ("vdp_port_dropped_frames_total", {"port": "underlay", "direction": "transmit"}, 0),
        ("vdp_port_lookups_total", {"port": "tap0", "result": "hit"}, 9),
        ("vdp_port_lookups_total", {"port": "tap0", "result": "miss"}, 1),
        ("vdp_port_upcalls_total", {"port": "tap0"}, 3),
        ("vdp_port_receive_ring_frames", {"port": "underlay"}, 4096),
        ("vdp_port_offload_enabled", {"port": "tap0", "feature": "csum"}, 1),
        ("vdp_port_offload_enabled", {"port": "tap0", "feature": "tso4"}, 0),
        ("vdp_port_offload_enabled", {"port": "gt1", "feature": "csum"}, None),
        ("vdp_drops_total", {"port": "underlay", "reason": "tunnel_no_link"}, 6),
        ("vdp_drops_total", {"port": "underlay", "reason": "wccp_bad_group"}, 1),
        ("vdp_drops_total", {"port": "tap0", "reason": "parse_truncated"}, 0),
        ("vdp_gso_segments_total", {"port": "gt1"}, 6),
        ("vdp_gso_refused_frames_total", {"port": "tap0"}, 2),
        ("vdp_gro_frames_total", {"port": "gt1"}, 3),
        ("vdp_gro_segments_total", {"port": "gt1"}, 30),
        ("vdp_gro_merged_frames_total", {"port": "gt1"}, 27),
        ("vdp_gro_frames_total", {"port": "tap0"}, None),
        ("vdp_flow_lookups_total", {"result": "exact"}, 10),
        ("vdp_flow_lookups_total", {"result": "wildcard"}, 5),
        ("vdp_flow_lookups_total", {"result": "miss"}, 4),
        ("vdp_flow_mask_probes_total", {}, 20),
        ("vdp_flow_masks", {}, 1),
        ("vdp_flow_entries", {}, 1),
        ("vdp_flow_entries_limit", {}, 65536),
        ("vdp_flow_inserts_total", {}, 9),
        ("vdp_flow_refusals_total", {}, 7),
        ("vdp_flow_evictions_total", {"reason": "idle"}, 4),
        ("vdp_flow_evictions_total", {"reason": "limit"}, 0),
        ("vdp_upcalls_total", {"reason": "action"}, 2),
        ("vdp_upcalls_lost_total", {}, 3),
        ("vdp_upcall_actions_suppressed_total", {}, 6),
        ("vdp_upcall_queue_entries", {}, 2),
        ("vdp_upcall_duration_seconds_bucket", {"le": "0.001"}, 3),
        ("vdp_upcall_duration_seconds_bucket", {"le": "0.01"}, 5),
        ("vdp_upcall_duration_seconds_bucket", {"le": "+Inf"}, 6),
        ("vdp_upcall_duration_seconds_count", {}, 6),
        ("vdp_upcall_duration_seconds_sum", {}, 0.05),
        ("vdp_worker_busy_seconds_total", {"worker": "0"}, 1.5),
        ("vdp_worker_idle_seconds_total", {"worker": "0"}, 0.5),
        ("vdp_worker_iterations_total", {"worker": "1"}, 7),
        ("vdp_worker_pool_free_packets", {"worker": "0"}, 2000),
        ("vdp_handler_info", {"list": "cisco", "handler": "wccp", "plugin": "wccp", "priority": "10"}, 1),
        ("vdp_handler_packets_total", {"list": "cisco", "handler": "wccp", "verdict": "drop"}, 3),
        ("vdp_handler_exceptions_total", {"list": "cisco", "handler": "wccp"}, 4),
        ("vdp_handler_packets_total", {"list": "cisco", "handler": "wccp", "verdict": "timeout"}, 5),
        ("vdp_handler_timeouts_total", {"list": "cisco", "handler": "wccp"}, 5),
        ("vdp_handler_passed_over", {"list": "cisco", "handler": "wccp"}, 1),
        ("vdp_handler_passed_over", {"list": "ip-protocol", "handler": "gre"}, 0),
        ("vdp_handler_quarantines_total", {"list": "cisco", "handler": "wccp"}, 2),
        ("vdp_handler_seconds_total", {"list": "ip-protocol", "handler": "gre"}, 1.5),
        ("vdp_plugin_info", {"plugin": "wccp", "version": "", "state": "failed"}, 1),
        ("vdp_link_info", {"link": "gt1", "kind": "gretap", "local": "192.0.2.1", "remote": "192.0.2.2"}, 1),
        ("vdp_handler_icmp_errors_total", {"list": "cisco", "handler": "wccp", "outcome": "received"}, 1),
        ("vdp_link_path_mtu_bytes", {"link": "gt1"}, 1400),
        ("vdp_link_last_receive_timestamp_seconds", {"link": "gt1"}, 0),
        ("vdp_bridge_addresses", {"bridge": "br0"}, 1),
        ("vdp_log_messages_total", {"level": "warning"}, 2),
        ("vdp_log_messages_total", {"level": "error"}, 0),
        ("vdp_netlink_events_total", {"netns": ""}, 30),
        ("vdp_netlink_overruns_total", {"netns": "blue"}, 1),
        ("vdp_control_requests_total", {"method": "port.show", "result": "error"}, 1),
        ("vdp_link_receive_packets_total", {"link": "gt1"}, 8),
        ("vdp_link_transmit_bytes_total", {"link": "gt1"}, 900),
        ("vdp_link_receive_errors_total", {"link": "gt1"}, 3),
        ("vdp_link_receive_dropped_total", {"link": "gt1"}, 4),
        ("vdp_link_errors_total", {"link": "gt1", "kind": "rx_crc"}, 2),
        ("vdp_link_errors_total", {"link": "gt1", "kind": "collisions"}, 0),
        ("vdp_link_icmp_errors_total", {"link": "gt1", "effect": "failure"}, 3),
        ("vdp_link_icmp_errors_total", {"link": "gt1", "effect": "route"}, 0),
        ("vdp_icmp_errors_sent_total", {"family": "ipv4", "error": "port_unreachable"}, 5),
        ("vdp_icmp_errors_suppressed_total", {"limit": "host"}, 4),
        ("vdp_icmp_errors_received_total", {"outcome": "malformed"}, 2),
    ],
)
def test_a_value_is_the_views(name: str, labels: dict[str, str], wanted: float | None) -> None:
    assert value(FakeView(), name, **labels) == wanted


def test_a_scrape_reads_the_view_anew() -> None:
    view = FakeView()
    kept = registry(view)
    view.ports[0]["counters"]["rx_packets"] = 11
    assert kept.get_sample_value("vdp_port_receive_frames_total", {"port": "tap0"}) == 11


def test_handlers_of_one_name_in_one_list_add_up() -> None:
    view = FakeView()
    view.handlers.append({**view.handlers[0], "priority": 20})
    assert value(view, "vdp_handler_packets_total", list="cisco", handler="wccp", verdict="drop") == 6
    assert scrape(view).count("vdp_handler_info{") == 3


def test_no_datapath_objects_are_no_error() -> None:
    view = FakeView()
    view.ports, view.links, view.handlers, view.plugins, view.drops = [], [], [], [], []
    assert "vdp_ready 1.0" in scrape(view)


def reasons(view: FakeView, core: int) -> None:
    names = [*COMMON_REASONS, *(f"reason_{number}" for number in range(core - len(COMMON_REASONS)))]
    view.reasons = [{"reason": name, "text": "", "plugin": ""} for name in names]


def drop_series(view: FakeView) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["port"], sample.labels["reason"]): sample.value
        for family in registry(view).collect()
        for sample in family.samples
        if sample.name == "vdp_drops_total"
    }


@pytest.mark.conformance("J")
def test_drops_have_every_core_reason_on_a_machine_of_usual_size() -> None:
    view = FakeView()
    reasons(view, 40)
    view.ports = [port(f"p{number}") for number in range(24)]
    assert len(drop_series(view)) == 24 * 40 + len(view.drops)


def test_drops_keep_to_their_budget_and_show_what_happened() -> None:
    view = FakeView()
    reasons(view, 40)
    view.ports = [port(f"p{number}") for number in range(70)]
    view.drops = [{"port": "p0", "reason": "reason_20", "text": "", "packets": 5}]
    series = drop_series(view)
    assert len(series) <= DROP_SERIES + 1
    assert series["p0", "reason_20"] == 5
    assert series["p69", "tunnel_no_link"] == 0


def test_the_whole_keeps_to_three_thousand_series() -> None:
    """16 ports, 8 links with their cells, 8 handlers, 16 workers, 8 namespaces, 60 methods, every reason."""
    view = FakeView()
    view.reasons = [{"reason": name, "text": text, "plugin": ""} for name, text in engine_reasons()]
    view.ports = [port(f"p{n}") for n in range(16)] + [port(f"l{n}", "gro-cell") for n in range(8)]
    view.links = [{**view.links[0], "name": f"l{n}"} for n in range(8)]
    view.handlers = [{**view.handlers[0], "name": f"h{n}"} for n in range(8)]
    view.state["workers"] = [worker(n) for n in range(16)]
    view.state["netlink"] = [{"netns": f"n{n}", "events": 0, "overruns": 0} for n in range(8)]
    view.state["requests"] = {f"m{n}": {"ok": 0, "error": 0} for n in range(60)}
    server = MetricsServer(Listen("127.0.0.1", 0), view, History(view))
    samples = sum(len(family.samples) for family in server.registry.collect())
    assert 1500 < samples <= 3000


def test_the_page_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert path.read_text() == page(), "python -m vdp.metrics.reference > docs/metrics.md"


def test_the_page_asks_for_metrics_that_there_are() -> None:
    known = {metric.name for metric in CATALOGUE}
    named = set(re.findall(r"\bvdp_[a-z_]+(?=[{\[\s)`])", page()))
    assert named - known <= {"vdp_port_"}, named - known
