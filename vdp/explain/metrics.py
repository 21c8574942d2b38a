"""Metrics: what moves them, and what to do.  What they mean is the catalogue's help.

A family that says of trouble has a text of its own; the others say what to look at, by the family's subject.
"""

from __future__ import annotations

from collections.abc import Mapping

#: By name: (cause, what to do) of those that should stay at zero, or below a bound.
TROUBLE: Mapping[str, tuple[str, str]] = {
    "vdp_ready": (
        "vdp starts or stops; or a port has no device, a link could not be made, a plugin not be loaded.",
        "`vdp status` ends with what is missing; the log says since when, `vdp doctor` what mends it.",
    ),
    "vdp_config_last_reload_successful": (
        "0 when the file was refused, or a change failed and was undone.",
        "`vdp check -c FILE` says what is wrong, `vdp reload --dry-run` what a reload would do.",
    ),
    "vdp_drops_total": (
        "Each way to lose a packet has a reason of its own.",
        "`vdp drop show`, then `vdp explain REASON`.",
    ),
    "vdp_port_kernel_drops_total": (
        "vdp does not read as fast as packets come: the kernel's queue in front of the port is full.",
        "More `[engine] workers` and `queues` of the port; a longer queue: `txqueuelen = 10000` on a "
        "`tap` or `tun`.",
    ),
    "vdp_port_up": (
        "0: it is set down, or its device is gone or down.",
        "`vdp port show PORT` has the error; `ip link set DEVICE up`.",
    ),
    "vdp_port_carrier": (
        "0: the device under the port is down, gone, or nobody is at its other end.",
        "`vdp port show PORT` names the device; `ip -d link` shows it; `ip link set DEVICE up`.",
    ),
    "vdp_port_held_frames": (
        "Packets wait for the slow path: many new flows, or a slow handler.",
        "`vdp handler list` shows the time of each.",
    ),
    "vdp_port_transmit_queue_frames": (
        "The kernel, or who reads the TAP or TUN, is slower than what comes.",
        "`vdp explain tx_queue_full`.",
    ),
    "vdp_worker_refused_calls_total": (
        "A defect of vdp, or somebody made a worker run what is not its own.",
        "The log names the system call. Take a core dump or a bug report (`vdp bugreport`), and restart vdp; "
        "`[security] workers` says what becomes of such calls.",
    ),
    "vdp_worker_pool_free_packets": (
        "Near 0: packets wait somewhere, or `[engine] packets` is too small.",
        "`vdp explain no_buffer`.",
    ),
    "vdp_gso_refused_frames_total": (
        "This kernel does not take super-packets of that sort.",
        "Nothing is lost, it is slower. A newer kernel takes them (docs/ports-and-links.md).",
    ),
    "vdp_flow_entries_limit": (
        "`[engine] flows` times the workers.",
        "Raise it when vdp_flow_entries nears it.",
    ),
    "vdp_flow_refusals_total": (
        "The flow table of a worker, or the masks of a port, are full; packets of such flows stay slow.",
        "`vdp flow dump` shows who makes so many; `[engine] flows` and `masks` are the limits.",
    ),
    "vdp_flow_not_kept_total": (
        "limit: there are more flows than can be looked after; table, masks: no room; program: the engine "
        "refused it; other: there was one already.",
        "`vdp flow dump` shows who makes so many; docs/operating.md, Under overload.",
    ),
    "vdp_flow_bound": (
        "Below vdp_flow_entries_limit: a look at all flows took more than a second, or memory is short.",
        "`vdp status` shows the steps; fewer `[engine] flows`, or a faster machine.",
    ),
    "vdp_overload_active": (
        "There is more to do, or less memory, than `[overload]` allows.",
        "`vdp status` says what is done without; `vdp top` shows who sends most.",
    ),
    "vdp_memory_used_ratio": (
        "Many flows, links or learned addresses; at `[overload] memory_percent` vdp does with fewer flows.",
        "`[overload] memory_mb`, `[engine] flows` and `packets`.",
    ),
    "vdp_queue_lost_total": (
        "More comes in than goes out: a device that is slower, or a receiver that stands still.",
        "`vdp drop show` has it by port and reason.",
    ),
    "vdp_netlink_overruns_total": (
        "Routes, neighbours or addresses changed faster than the kernel's events could be read.",
        "All tables were read anew; when it goes on, `ip monitor` shows what changes.",
    ),
    "vdp_log_messages_total": (
        "Warnings and errors say of something that an operator should look at.",
        "`journalctl -u vdp -p warning`, and `vdp doctor`.",
    ),
    "vdp_flow_mask_probes_total": (
        "Many masks: rules and handlers look at different fields, so that each lookup tries many tables.",
        "`vdp flow dump --explain` shows who reads what; fewer different matches in `[[rule]]`.",
    ),
    "vdp_upcalls_lost_total": (
        "New flows came faster than Python decides.",
        "`vdp explain upcall_queue_full` and `vdp explain upcall_rate`.",
    ),
    "vdp_upcall_actions_suppressed_total": (
        "Handlers asked for more copies than `[engine] action_rate`.",
        "Raise it, if they are wanted; else look at who sends so much: `vdp top`.",
    ),
    "vdp_upcall_duration_seconds": (
        "Long times: a slow handler, or a busy host.",
        "`vdp handler list` has the time of each handler.",
    ),
    "vdp_handler_exceptions_total": ("A fault in a plugin.", "`vdp explain handler_error`."),
    "vdp_handler_timeouts_total": ("A handler that is slow or waits.", "`vdp explain handler_timeout`."),
    "vdp_handler_passed_over": (
        "It failed too often and is in quarantine, or somebody disabled it.",
        "`vdp handler list` has its last error; `vdp handler enable HANDLER` asks it again.",
    ),
    "vdp_handler_quarantines_total": (
        "A handler that fails again and again.",
        "`vdp handler list` has its last error.",
    ),
    "vdp_link_up": ("0: `up = false`, or a keepalive got no answer.", "`vdp link show LINK`."),
    "vdp_link_errors_total": (
        "One kind for each way to fail, by the kernel's names.",
        "`vdp explain rx_crc_errors` and so on: the kind with _errors behind it.",
    ),
    "vdp_link_receive_errors_total": ("The sum of the rx kinds.", "`vdp link show LINK` has the kinds."),
    "vdp_link_transmit_errors_total": ("The sum of the tx kinds.", "`vdp link show LINK` has the kinds."),
    "vdp_link_receive_dropped_total": ("The GRO cell was full.", "`vdp explain cell_full`."),
}

#: By the beginning of the name, the longest first: what else there is to look at.
SUBJECTS: Mapping[str, tuple[str, str]] = {
    "vdp_config_": ("`vdp reload` and SIGHUP.", "`vdp reload --dry-run` says what a reload would change."),
    "vdp_worker_": ("The threads that forward.", "`vdp status`; `[engine] workers` is how many there are."),
    "vdp_port_": ("Packets that pass a port.", "`vdp port show PORT`."),
    "vdp_gso_": ("Super-packets of local senders.", "`vdp port show PORT`: features, refused."),
    "vdp_gro_": ("Packets that links join to super-packets.", "`vdp port show LINK`: the link's cell."),
    "vdp_flow_": ("Megaflows and lookups.", "`vdp flow dump`."),
    "vdp_upcall": ("Packets that no flow takes: Python decides.", "`vdp handler list`, `vdp flow dump`."),
    "vdp_icmp_": (
        "ICMP errors, sent or heard.",
        "`vdp link show LINK`: icmp_errors; `[icmp]` has the limits.",
    ),
    "vdp_plugin_": ("Plugins.", "`vdp plugin list`, `vdp plugin info PLUGIN`."),
    "vdp_handler_": ("Handlers, asked about new flows.", "`vdp handler list`."),
    "vdp_link_": ("Tunnels.", "`vdp link show LINK`."),
    "vdp_": ("The daemon.", "`vdp status`."),
}


def advice(name: str) -> tuple[str, str]:
    """Cause and what to do, of a family."""
    if name in TROUBLE:
        return TROUBLE[name]
    return next(SUBJECTS[start] for start in SUBJECTS if name.startswith(start))
