"""Every metric family that vdp has: name, type, help, labels.

The collector makes its families from this table, docs/metrics.md is written from
it, and a test holds scrape and table to each other.  A frame is what one read or
write carries and may be a super-packet; a packet is one on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["counter", "gauge", "histogram"]

VERDICTS: tuple[Literal["received", "reject", "drop", "error", "timeout"], ...] = (
    "received", "reject", "drop", "error", "timeout",
)  # fmt: skip
#: Of a port; vnet_hdr is how the others are told.
OFFLOADS = ("csum", "tso4", "tso6", "uso", "gre_tso")
LOG_LEVELS = ("debug", "info", "warning", "error")
EVICTION_REASONS = ("idle", "limit", "revalidated", "flush")
UPCALL_REASONS = ("miss", "action")
# struct rtnl_link_stats64, of what ip_gre.c and ip_tunnel.c count, without "_errors".
LINK_ERRORS = ("rx_crc", "rx_fifo", "rx_frame", "tx_carrier", "tx_aborted", "tx_fifo", "collisions")


@dataclass(frozen=True, slots=True)
class Metric:
    """One family.  A counter's name ends in _total."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()


_PORT = ("port",)
_LINK = ("link",)
_HANDLER = ("list", "handler")
_WORKER = ("worker",)

CATALOGUE = (
    Metric("vdp_build_info", "gauge", "1, with the version of vdp and of Python.", ("version", "python")),
    Metric("vdp_ready", "gauge", "1 when it is started and nothing of the configuration is missing, else 0."),
    Metric("vdp_uptime_seconds", "gauge", "Seconds since the dataplane was made."),
    Metric("vdp_config_reloads_total", "counter", "Times that the configuration was read anew.", ("result",)),
    Metric("vdp_config_last_reload_successful", "gauge", "0 when the last one changed nothing, or failed."),
    Metric(
        "vdp_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration in force was read, in seconds since 1970.",
    ),
    Metric("vdp_log_messages_total", "counter", "Lines of the log, by level.", ("level",)),
    # Workers
    Metric("vdp_worker_busy_seconds_total", "counter", "Time that a worker spent on packets.", _WORKER),
    Metric("vdp_worker_idle_seconds_total", "counter", "Time that a worker waited for packets.", _WORKER),
    Metric("vdp_worker_iterations_total", "counter", "Rounds of a worker's main loop.", _WORKER),
    Metric("vdp_worker_pool_packets", "gauge", "Packets in a worker's pool, free or not.", _WORKER),
    Metric("vdp_worker_pool_free_packets", "gauge", "Free packets in a worker's pool.", _WORKER),
    Metric(
        "vdp_worker_refused_calls_total",
        "counter",
        "System calls that a worker tried and may not do: 0, unless something is very wrong.",
        _WORKER,
    ),
    # Ports
    Metric("vdp_port_info", "gauge", "1, with what a port is.", ("port", "type", "device", "netns")),
    Metric("vdp_port_up", "gauge", "1 when a port is up, else 0.", _PORT),
    Metric(
        "vdp_port_carrier", "gauge", "1 when a port's device is up and its other end is there, else 0.", _PORT
    ),
    Metric("vdp_port_mtu_bytes", "gauge", "MTU of a port.", _PORT),
    Metric("vdp_port_receive_frames_total", "counter", "Frames read, a super-packet being one.", _PORT),
    Metric(
        "vdp_port_receive_packets_total", "counter", "Wire packets that the frames read stand for.", _PORT
    ),
    Metric("vdp_port_receive_bytes_total", "counter", "Bytes of the frames read.", _PORT),
    Metric("vdp_port_transmit_frames_total", "counter", "Frames written, a super-packet being one.", _PORT),
    Metric(
        "vdp_port_transmit_packets_total", "counter", "Wire packets that the frames written stand for.", _PORT
    ),
    Metric("vdp_port_transmit_bytes_total", "counter", "Bytes of the frames written.", _PORT),
    Metric("vdp_port_transmit_queue_frames", "gauge", "Frames that wait for the kernel to take them.", _PORT),
    Metric(
        "vdp_port_receive_ring_frames",
        "gauge",
        "Frames that fit the receive ring of each queue; 0: it receives by system calls.",
        _PORT,
    ),
    Metric(
        "vdp_port_offload_enabled",
        "gauge",
        "1 when the port takes on transmit what is not finished, or not cut, in this way, else 0.",
        ("port", "feature"),
    ),
    Metric(
        "vdp_port_kernel_drops_total",
        "counter",
        "Frames that the kernel lost in front of a port for want of room.",
        _PORT,
    ),
    Metric("vdp_port_injected_frames_total", "counter", "Frames made by the slow path, charged here.", _PORT),
    Metric("vdp_port_cloned_frames_total", "counter", "Copies made of frames that came in here.", _PORT),
    Metric("vdp_port_forwarded_frames_total", "counter", "Frames that came in here and were output.", _PORT),
    Metric("vdp_port_offered_frames_total", "counter", "Frames that were output to a port.", _PORT),
    Metric(
        "vdp_port_dropped_frames_total",
        "counter",
        "Frames dropped: receive, before an output took them; transmit, by the port they were to leave by.",
        ("port", "direction"),
    ),
    Metric(
        "vdp_port_lookups_total",
        "counter",
        "Frames that came in and were looked up: hit, there was a flow; miss, there was none.",
        ("port", "result"),
    ),
    Metric("vdp_port_upcalls_total", "counter", "Frames that came in and went to the slow path.", _PORT),
    Metric("vdp_port_consumed_frames_total", "counter", "Frames that the slow path took on purpose.", _PORT),
    Metric("vdp_port_held_frames", "gauge", "Frames that wait for the slow path.", _PORT),
    Metric("vdp_drops_total", "counter", "Frames dropped, by port and reason.", ("port", "reason")),
    # Segmentation and coalescing
    Metric(
        "vdp_gso_segments_total", "counter", "More frames, by cutting super-packets that came in here.", _PORT
    ),
    Metric(
        "vdp_gso_refused_frames_total",
        "counter",
        "Super-packets that the kernel did not take whole, and were sent in parts.",
        _PORT,
    ),
    Metric("vdp_gro_frames_total", "counter", "Frames that left a GRO cell.", _PORT),
    Metric("vdp_gro_segments_total", "counter", "Wire packets in the frames that left a GRO cell.", _PORT),
    Metric("vdp_gro_merged_frames_total", "counter", "Frames that a GRO cell joined to another one.", _PORT),
    # Flows
    Metric(
        "vdp_flow_lookups_total",
        "counter",
        "Classifier lookups: exact (the previous packet's flow), wildcard (found in the table), miss.",
        ("result",),
    ),
    Metric("vdp_flow_mask_probes_total", "counter", "Hash tables that lookups tried, one for each mask."),
    Metric("vdp_flow_masks", "gauge", "Masks (hash tables) of all workers and ports."),
    Metric("vdp_flow_entries", "gauge", "Flows of all workers."),
    Metric("vdp_flow_entries_limit", "gauge", "Flows that all workers' tables may hold."),
    Metric("vdp_flow_inserts_total", "counter", "Flows installed."),
    Metric("vdp_flow_evictions_total", "counter", "Flows removed, by reason.", ("reason",)),
    Metric(
        "vdp_flow_refusals_total",
        "counter",
        "Flows that were decided and found no room, in the table or for their mask.",
    ),
    Metric(
        "vdp_flow_not_kept_total",
        "counter",
        "Flows that were decided and not kept: above the limit, no place in the table, too many masks.",
        ("reason",),
    ),
    Metric("vdp_flow_bound", "gauge", "Flows beyond which new ones are kept by chance only."),
    Metric(
        "vdp_flow_bound_steps_total",
        "counter",
        "hit: a flow was not kept; kill: all went; scaled, reduced, grew: the bound.",
        ("step",),
    ),
    Metric("vdp_flow_different_masks", "gauge", "Masks of all workers; ports may share one."),
    # Overload
    Metric("vdp_overload_active", "gauge", "1 while a step is taken, else 0.", ("step",)),
    Metric("vdp_overload_steps_total", "counter", "Times that a step was taken.", ("step",)),
    Metric("vdp_queue_lost_total", "counter", "Packets that found a queue full, or no buffer."),
    Metric("vdp_memory_used_ratio", "gauge", "Of the memory that vdp should have, what it has."),
    # Upcalls
    Metric("vdp_upcalls_total", "counter", "Packets that the slow path took, by reason.", ("reason",)),
    Metric("vdp_upcalls_lost_total", "counter", "Upcalls lost to a full queue or the rate limit."),
    Metric("vdp_upcall_actions_suppressed_total", "counter", "Upcall actions over their rate limit."),
    Metric("vdp_upcall_queue_entries", "gauge", "Packets that wait for the slow path."),
    Metric("vdp_upcall_duration_seconds", "histogram", "From taking an upcall to its resolution."),
    # ICMP errors
    Metric("vdp_icmp_errors_sent_total", "counter", "ICMP errors sent, by content.", ("family", "error")),
    Metric(
        "vdp_icmp_errors_suppressed_total",
        "counter",
        "ICMP errors not sent: over the limit for their host, or for all together.",
        ("limit",),
    ),
    Metric(
        "vdp_icmp_errors_received_total",
        "counter",
        "ICMP errors about packets that may be ours: known to a handler, to none, not to be believed.",
        ("outcome",),
    ),
    # Handlers and plugins
    Metric("vdp_plugin_info", "gauge", "1, with a plugin's state.", ("plugin", "version", "state")),
    Metric(
        "vdp_handler_info", "gauge", "1, with a handler's place.", ("list", "handler", "plugin", "priority")
    ),
    Metric(
        "vdp_handler_packets_total",
        "counter",
        "Packets that a handler decided about, by its verdict.",
        (*_HANDLER, "verdict"),
    ),
    Metric(
        "vdp_handler_exceptions_total",
        "counter",
        "Packets on which a handler raised; they went on as if rejected.",
        _HANDLER,
    ),
    Metric(
        "vdp_handler_timeouts_total", "counter", "Packets dropped because a handler took too long.", _HANDLER
    ),
    Metric(
        "vdp_handler_passed_over",
        "gauge",
        "1 while a handler is in quarantine or disabled, else 0.",
        _HANDLER,
    ),
    Metric(
        "vdp_handler_quarantines_total", "counter", "Times that a handler was put out for failing.", _HANDLER
    ),
    Metric(
        "vdp_handler_icmp_errors_total",
        "counter",
        "ICMP errors that a handler was told of, by its answer.",
        (*_HANDLER, "outcome"),
    ),
    Metric("vdp_handler_seconds_total", "counter", "Time spent in a handler.", _HANDLER),
    # Links
    Metric("vdp_link_info", "gauge", "1, with what a link is.", ("link", "kind", "local", "remote")),
    Metric("vdp_link_up", "gauge", "1 when a link is up, else 0.", _LINK),
    Metric("vdp_link_mtu_bytes", "gauge", "MTU of a link.", _LINK),
    Metric(
        "vdp_link_path_mtu_bytes",
        "gauge",
        "What the way to a link's remote takes, as the kernel knows it; 0: no way, or no fixed remote.",
        _LINK,
    ),
    Metric(
        "vdp_link_last_receive_timestamp_seconds",
        "gauge",
        "When a link was last seen to have received, in seconds since 1970, to some 5 s; 0: never.",
        _LINK,
    ),
    Metric("vdp_link_receive_packets_total", "counter", "Packets that a link decapsulated.", _LINK),
    Metric(
        "vdp_link_receive_bytes_total", "counter", "Bytes of the same, without the tunnel's headers.", _LINK
    ),
    Metric("vdp_link_receive_errors_total", "counter", "The kernel's rx_errors.", _LINK),
    Metric(
        "vdp_link_receive_dropped_total", "counter", "The kernel's rx_dropped: the GRO cell was full.", _LINK
    ),
    Metric("vdp_link_transmit_packets_total", "counter", "Packets that a link encapsulated.", _LINK),
    Metric(
        "vdp_link_transmit_bytes_total", "counter", "Bytes of the same, without the tunnel's headers.", _LINK
    ),
    Metric("vdp_link_transmit_errors_total", "counter", "The kernel's tx_errors.", _LINK),
    Metric("vdp_link_transmit_dropped_total", "counter", "The kernel's tx_dropped.", _LINK),
    Metric(
        "vdp_link_errors_total",
        "counter",
        "Errors by the kernel's kinds (rtnl_link_stats64).",
        ("link", "kind"),
    ),
    Metric(
        "vdp_link_icmp_errors_total",
        "counter",
        "ICMP errors about a link's packets, by effect: path_mtu, route, failure (err_count) or ignored.",
        ("link", "effect"),
    ),
    # Bridges
    Metric("vdp_bridge_addresses", "gauge", "MAC addresses that a bridge has learned.", ("bridge",)),
    # Control side
    Metric("vdp_netlink_events_total", "counter", "What the kernel told of a network namespace.", ("netns",)),
    Metric(
        "vdp_netlink_overruns_total",
        "counter",
        "Times that the kernel's events were lost; each time all its tables were read anew.",
        ("netns",),
    ),
    Metric(
        "vdp_control_requests_total",
        "counter",
        "Requests on the control socket, by method and result.",
        ("method", "result"),
    ),
)
