"""Metric families from what the datapath shows, read at each scrape.

A series exists from the start with 0 where its labels are known; of drops only as
many as DROP_SERIES allows, since every port times every reason would outgrow all
else together.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from vdp.control.view import (
    BridgeRow,
    DatapathView,
    DropRow,
    HandlerRow,
    HistogramRow,
    LinkRow,
    PluginRow,
    PortRow,
    ReasonRow,
    StatusRow,
)
from vdp.metrics.catalogue import (
    CATALOGUE,
    EVICTION_REASONS,
    LINK_ERRORS,
    LOG_LEVELS,
    OFFLOADS,
    UPCALL_REASONS,
    VERDICTS,
    Metric,
)

MetricsSource: TypeAlias = DatapathView
Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

# 16 ports and 8 links times some 40 reasons fit.
DROP_SERIES = 1024

# Shown at 0 where not all reasons fit: those that alerts and dashboards are about.
COMMON_REASONS = (
    "tunnel_no_link",
    "no_forwarding",
    "policy_rule",
    "tx_queue_full",
    "tx_error",
    "upcall_queue_full",
    "upcall_rate",
    "port_down",
    "mtu_exceeded",
    "handler_error",
    "cell_full",
    "no_buffer",
)


class DatapathCollector:
    """A prometheus_client collector of one datapath.

    heard: when a link was last seen to have received, in seconds since 1970; 0: never.
    """

    def __init__(
        self,
        source: MetricsSource,
        drop_series: int = DROP_SERIES,
        heard: Callable[[str], float] = lambda link: 0.0,
    ) -> None:
        self._source = source
        self._drop_series = drop_series
        self._heard = heard

    def collect(self) -> Iterator[Family]:
        """Every family of the catalogue, in its order, and those of plugins."""
        source = self._source
        sheet = Sheet()
        ports = source.show_ports()
        _status(sheet, source.status(), ports)
        _ports(sheet, ports)
        names = [port["name"] for port in ports]
        _drops(sheet, names, source.drop_reasons(), source.show_drops(), self._drop_series)
        _links(sheet, source.show_links(), self._heard)
        _bridges(sheet, source.show_bridges())
        _handlers(sheet, source.list_handlers())
        plugins = source.list_plugins()
        _plugins(sheet, plugins)
        yield from sheet.families()
        yield from _plugin_counters(plugins)


class Sheet:
    """Values by family and labels, on their way to families; equal labels add up."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {metric.name: {} for metric in CATALOGUE}
        self._histograms: dict[str, HistogramRow] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        series = self._values[name]
        series[labels] = series.get(labels, 0) + value

    def add_histogram(self, name: str, row: HistogramRow) -> None:
        self._histograms[name] = row

    def families(self) -> Iterator[Family]:
        for metric in CATALOGUE:
            if metric.type == "histogram":
                yield _histogram(metric, self._histograms[metric.name])
                continue
            kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in self._values[metric.name].items():
                family.add_metric(labels, value)
            yield family


def _histogram(metric: Metric, row: HistogramRow) -> HistogramMetricFamily:
    buckets, total = [], 0
    for bound, count in zip([*row["bounds"], float("inf")], row["counts"], strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(total)))
    family = HistogramMetricFamily(metric.name, metric.help)
    family.add_metric([], buckets, row["sum"])
    return family


def _status(sheet: Sheet, status: StatusRow, ports: Sequence[PortRow]) -> None:
    sheet.add("vdp_build_info", 1, status["version"], platform.python_version())
    sheet.add("vdp_ready", status["ready"])
    sheet.add("vdp_uptime_seconds", status["uptime_s"])
    reloads = status["reloads"]
    for result, count in reloads["results"].items():
        sheet.add("vdp_config_reloads_total", count, result)
    sheet.add("vdp_config_last_reload_successful", reloads["was_good"])
    sheet.add("vdp_config_last_reload_success_timestamp_seconds", reloads["read_s"])
    for level in LOG_LEVELS:
        sheet.add("vdp_log_messages_total", status["log"].get(level, 0), level)
    for heard in status["netlink"]:
        sheet.add("vdp_netlink_events_total", heard["events"], heard["netns"] or "")
        sheet.add("vdp_netlink_overruns_total", heard["overruns"], heard["netns"] or "")
    for method, outcomes in status["requests"].items():
        for outcome, count in outcomes.items():
            sheet.add("vdp_control_requests_total", count, method, outcome)
    for worker in status["workers"]:
        number = str(worker["worker"])
        sheet.add("vdp_worker_busy_seconds_total", worker["busy_ns"] / 1e9, number)
        sheet.add("vdp_worker_idle_seconds_total", worker["idle_ns"] / 1e9, number)
        sheet.add("vdp_worker_iterations_total", worker["iterations"], number)
        sheet.add("vdp_worker_pool_packets", worker["packets_total"], number)
        sheet.add("vdp_worker_pool_free_packets", worker["packets_free"], number)
        sheet.add("vdp_worker_refused_calls_total", worker["calls_refused"], number)
        sheet.add("vdp_flow_lookups_total", worker["previous_hits"], "exact")
        sheet.add("vdp_flow_lookups_total", worker["table_hits"], "wildcard")
        sheet.add("vdp_flow_lookups_total", worker["misses"], "miss")
        sheet.add("vdp_flow_mask_probes_total", worker["mask_probes"])
        sheet.add("vdp_flow_masks", worker["masks"])
        sheet.add("vdp_flow_entries", worker["flows"])
        sheet.add("vdp_flow_different_masks", worker["different_masks"])
        sheet.add("vdp_queue_lost_total", worker["queue_lost"])
        sheet.add("vdp_upcalls_lost_total", worker["upcalls_lost"])
        sheet.add("vdp_upcall_actions_suppressed_total", worker["actions_suppressed"])
    flows, upcalls = status["flows"], status["upcalls"]
    sheet.add("vdp_flow_entries_limit", flows["limit"])
    sheet.add("vdp_flow_inserts_total", flows["inserts"])
    sheet.add("vdp_flow_refusals_total", flows["refused"])
    sheet.add("vdp_flow_bound", flows["bound"])
    for reason, count in flows["refusals"].items():
        sheet.add("vdp_flow_not_kept_total", count, reason)
    for step, count in flows["bound_steps"].items():
        sheet.add("vdp_flow_bound_steps_total", count, step)
    sheet.add("vdp_memory_used_ratio", status["overload"]["memory"])
    for rung in status["overload"]["steps"]:
        sheet.add("vdp_overload_active", rung["taken"], rung["step"])
        sheet.add("vdp_overload_steps_total", rung["count"], rung["step"])
    for reason in EVICTION_REASONS:
        sheet.add("vdp_flow_evictions_total", flows["evictions"].get(reason, 0), reason)
    for reason in UPCALL_REASONS:
        sheet.add("vdp_upcalls_total", upcalls["total"].get(reason, 0), reason)
    sheet.add("vdp_upcall_queue_entries", sum(port["counters"]["held"] for port in ports))
    sheet.add_histogram("vdp_upcall_duration_seconds", upcalls["seconds"])
    icmp = status["icmp"]
    for family, said in icmp["sent"].items():
        for error, count in said.items():
            sheet.add("vdp_icmp_errors_sent_total", count, family, error)
    for limit, count in icmp["suppressed"].items():
        sheet.add("vdp_icmp_errors_suppressed_total", count, limit)
    for outcome, count in icmp["received"].items():
        sheet.add("vdp_icmp_errors_received_total", count, outcome)


def _ports(sheet: Sheet, ports: Sequence[PortRow]) -> None:
    for port in ports:
        name, counters = port["name"], port["counters"]
        sheet.add("vdp_port_info", 1, name, port["type"], port["device"] or "", port["netns"] or "")
        sheet.add("vdp_port_up", port["up"], name)
        if port["carrier"] is not None:
            sheet.add("vdp_port_carrier", port["carrier"], name)
        sheet.add("vdp_port_mtu_bytes", port["mtu"], name)
        sheet.add("vdp_port_receive_frames_total", counters["rx_packets"], name)
        sheet.add("vdp_port_receive_packets_total", counters["rx_segments"], name)
        sheet.add("vdp_port_receive_bytes_total", counters["rx_bytes"], name)
        sheet.add("vdp_port_transmit_frames_total", counters["tx_packets"], name)
        sheet.add("vdp_port_transmit_packets_total", counters["tx_segments"], name)
        sheet.add("vdp_port_transmit_bytes_total", counters["tx_bytes"], name)
        sheet.add("vdp_port_transmit_queue_frames", counters["tx_queued"], name)
        sheet.add("vdp_port_kernel_drops_total", port["kernel_drops"], name)
        sheet.add("vdp_port_offered_frames_total", counters["offered"], name)
        sheet.add("vdp_port_dropped_frames_total", counters["dropped"], name, "receive")
        sheet.add("vdp_port_dropped_frames_total", counters["tx_dropped"], name, "transmit")
        sheet.add("vdp_port_lookups_total", counters["hits"], name, "hit")
        sheet.add("vdp_port_lookups_total", counters["misses"], name, "miss")
        sheet.add("vdp_port_upcalls_total", counters["upcalls"], name)
        sheet.add("vdp_port_injected_frames_total", counters["injected"], name)
        sheet.add("vdp_port_cloned_frames_total", counters["cloned"], name)
        sheet.add("vdp_port_forwarded_frames_total", counters["forwarded"], name)
        sheet.add("vdp_port_consumed_frames_total", counters["consumed"], name)
        sheet.add("vdp_port_held_frames", counters["held"], name)
        sheet.add("vdp_gso_segments_total", counters["segmented"], name)
        sheet.add("vdp_gso_refused_frames_total", counters["refused"], name)
        if port["type"] == "gro-cell":
            sheet.add("vdp_gro_frames_total", counters["rx_packets"], name)
            sheet.add("vdp_gro_segments_total", counters["rx_segments"], name)
            sheet.add("vdp_gro_merged_frames_total", counters["merged"], name)
        elif port["type"] != "flood":
            sheet.add("vdp_port_receive_ring_frames", port["rx_ring"], name)
            for feature in OFFLOADS:
                sheet.add("vdp_port_offload_enabled", feature in port["features"], name, feature)


def _drops(
    sheet: Sheet, ports: Sequence[str], reasons: Sequence[ReasonRow], drops: Sequence[DropRow], budget: int
) -> None:
    """What was dropped, and zeros for as many reasons of each port as the budget allows."""
    core = [reason["reason"] for reason in reasons if not reason["plugin"]]
    ordered = [name for name in COMMON_REASONS if name in core]
    ordered += [name for name in core if name not in COMMON_REASONS]
    for port in ports:
        for reason in ordered[: budget // len(ports)]:
            sheet.add("vdp_drops_total", 0, port, reason)
    for drop in drops:
        sheet.add("vdp_drops_total", drop["packets"], drop["port"], drop["reason"])


def _links(sheet: Sheet, links: Sequence[LinkRow], heard: Callable[[str], float]) -> None:
    for link in links:
        name, counters = link["name"], link["counters"]
        sheet.add("vdp_link_info", 1, name, link["kind"], link["local"] or "", link["remote"] or "")
        sheet.add("vdp_link_up", link["up"], name)
        sheet.add("vdp_link_mtu_bytes", link["mtu"], name)
        sheet.add("vdp_link_path_mtu_bytes", link["path_mtu"] or 0, name)
        sheet.add("vdp_link_last_receive_timestamp_seconds", heard(name), name)
        for direction, short in (("receive", "rx"), ("transmit", "tx")):
            for what in ("packets", "bytes", "errors", "dropped"):
                sheet.add(f"vdp_link_{direction}_{what}_total", counters.get(f"{short}_{what}", 0), name)
        for kind in LINK_ERRORS:
            count = counters.get(kind if kind == "collisions" else f"{kind}_errors", 0)
            sheet.add("vdp_link_errors_total", count, name, kind)
        for effect, count in link["icmp_errors"].items():
            sheet.add("vdp_link_icmp_errors_total", count, name, effect)


def _bridges(sheet: Sheet, bridges: Sequence[BridgeRow]) -> None:
    for bridge in bridges:
        sheet.add("vdp_bridge_addresses", bridge["macs"], bridge["bridge"])


def _handlers(sheet: Sheet, handlers: Sequence[HandlerRow]) -> None:
    for handler in handlers:
        place = (handler["list"], handler["name"])
        sheet.add("vdp_handler_info", 1, *place, handler["plugin"], str(handler["priority"]))
        counts = handler["verdicts"]
        for verdict in VERDICTS:
            sheet.add("vdp_handler_packets_total", counts[verdict], *place, verdict)
        sheet.add("vdp_handler_exceptions_total", counts["error"], *place)
        sheet.add("vdp_handler_timeouts_total", counts["timeout"], *place)
        sheet.add("vdp_handler_passed_over", handler["state"] != "asked", *place)
        sheet.add("vdp_handler_quarantines_total", handler["quarantines"], *place)
        for outcome, count in handler["icmp_errors"].items():
            sheet.add("vdp_handler_icmp_errors_total", count, *place, outcome)
        sheet.add("vdp_handler_seconds_total", handler["seconds"], *place)


def _plugins(sheet: Sheet, plugins: Sequence[PluginRow]) -> None:
    for plugin in plugins:
        sheet.add("vdp_plugin_info", 1, plugin["name"], plugin["version"], plugin["state"])


def _plugin_counters(plugins: Sequence[PluginRow]) -> Iterator[Family]:
    """Counters of their own: of each two families, packets and bytes."""
    families: dict[str, CounterMetricFamily] = {}
    for row in (row for plugin in plugins for row in plugin["counters"]):
        for unit, count in (("packets", row["packets"]), ("bytes", row["bytes"])):
            name = f"{row['name']}_{unit}_total"
            if name not in families:
                families[name] = CounterMetricFamily(name, row["text"], labels=list(row["labels"]))
            families[name].add_metric(list(row["labels"].values()), count)
    yield from families.values()
