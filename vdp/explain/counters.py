"""Counters of ports and workers (engine.h), and of links (struct rtnl_link_stats64)."""

from __future__ import annotations

from collections.abc import Mapping

_PORT = "`vdp port show PORT`."
_LINK = "`vdp link show LINK`."
_STATUS = "`vdp status`."

#: By name: (meaning, cause, what to do).
COUNTERS: Mapping[str, tuple[str, str, str]] = {
    # struct vdp_port_stats; rx_packets, rx_bytes, tx_packets and tx_bytes are of links, too
    "rx_packets": ("Frames received; a super-packet is one.", "Traffic.", _PORT),
    "rx_bytes": ("Bytes of the frames received.", "Traffic.", _PORT),
    "rx_segments": ("Wire packets that the frames received stand for.", "Traffic.", _PORT),
    "tx_packets": ("Frames sent; a super-packet is one.", "Traffic.", _PORT),
    "tx_bytes": ("Bytes of the frames sent.", "Traffic.", _PORT),
    "tx_segments": ("Wire packets that the frames sent stand for.", "Traffic.", _PORT),
    "injected": ("Frames that the slow path made, charged here.", "ICMP errors, plugins' answers.", _PORT),
    "cloned": ("Copies made of frames that came in here.", "Floods, mirrors.", _PORT),
    "segmented": ("Frames more, by cutting super-packets.", "A way out that takes no super-packets.", _PORT),
    "forwarded": ("Frames that came in here and were output.", "Traffic.", _PORT),
    "dropped": (
        "Frames that were lost here.",
        "`vdp drop show PORT` has the reasons.",
        "`vdp explain REASON`.",
    ),
    "consumed": ("Frames that the slow path took on purpose.", "Answers, redirects, plugins.", _PORT),
    "held": ("Frames that wait for the slow path now.", "New flows.", "`vdp handler list` shows slow ones."),
    "offered": ("Frames that were to leave here.", "Traffic.", _PORT),
    "tx_dropped": (
        "Frames that were to leave here and did not; of links, packets.",
        "The queue is full, the device down, or the packet too large.",
        "`vdp drop show PORT`, then `vdp explain REASON`.",
    ),
    "tx_queued": ("Frames that wait for the kernel now.", "A slow reader.", "`vdp explain tx_queue_full`."),
    "merged": ("Frames that were joined to another one here.", "GRO.", _PORT),
    "upcalls": ("Frames that went to the slow path.", "New flows.", "`vdp flow dump PORT`."),
    "hits": ("Frames that a known flow took.", "Traffic.", "`vdp flow dump PORT`."),
    "misses": ("Frames that no flow took.", "New flows.", "`vdp flow dump PORT`."),
    "refused": (
        "Super-packets that the kernel did not take whole; they were sent in parts.",
        "An older kernel, or a device that lost a feature.",
        "Nothing is lost. docs/ports-and-links.md, Links.",
    ),
    "kernel_drops": (
        "Frames that the kernel lost in front of the port for want of room.",
        "vdp does not read as fast as they come.",
        "More `[engine] workers`, `queues` of the port, a longer `txqueuelen` of a `tap` or `tun`.",
    ),
    # struct vdp_worker_stats
    "iterations": ("Rounds of a worker's main loop.", "Traffic.", _STATUS),
    "busy_ns": ("Nanoseconds spent on packets.", "Traffic.", _STATUS),
    "idle_ns": ("Nanoseconds waited for packets.", "No traffic.", _STATUS),
    "lookups": ("Lookups in the flow tables.", "Traffic.", _STATUS),
    "previous_hits": ("Lookups that the previous packet's flow answered.", "Bursts of one flow.", _STATUS),
    "table_hits": ("Lookups that the table answered.", "Traffic of many flows.", _STATUS),
    "mask_probes": (
        "Hash tables tried by lookups.",
        "Many masks.",
        "`vdp explain vdp_flow_mask_probes_total`.",
    ),
    "upcalls_lost": ("Upcalls lost.", "New flows, too fast.", "`vdp explain vdp_upcalls_lost_total`."),
    "actions_suppressed": ("Copies to the slow path over `[engine] action_rate`.", "Handlers.", _STATUS),
    "different_masks": (
        "Different masks of all flows.",
        "Rules, routes and handlers that look at different fields.",
        "`[engine] masks` and `port_masks` bound them; `vdp flow dump PORT` shows them.",
    ),
    "queue_lost": (
        "Packets that found a queue full, or no buffer.",
        "More comes in than goes out.",
        "`vdp drop show`: tx_queue_full, cell_full, group_queue_full, no_buffer, overload_shed.",
    ),
    "calls_refused": (
        "System calls that a worker may not do.",
        "A defect, or an intruder.",
        "`vdp explain vdp_worker_refused_calls_total`.",
    ),
    # struct rtnl_link_stats64, as ip_gre.c and ip_tunnel.c count
    "rx_errors": ("Packets that a link received and refused.", "The sum of the rx kinds.", _LINK),
    "tx_errors": ("Packets that a link could not send.", "The sum of the tx kinds.", _LINK),
    "rx_dropped": (
        "Packets that a link received and lost.",
        "Its cell was full.",
        "`vdp explain cell_full`.",
    ),
    "rx_crc_errors": (
        "Packets whose GRE checksum is wrong, missing or unasked for.",
        "The ends disagree about `csum`, or damage on the way.",
        "`vdp explain tunnel_checksum_policy`, `vdp explain tunnel_checksum`.",
    ),
    "rx_fifo_errors": (
        "Packets with an old sequence number, or without one.",
        "The ends disagree about `seq`, the way reorders, or the other end began anew.",
        "`vdp explain tunnel_sequence`.",
    ),
    "rx_frame_errors": (
        "Packets marked as congested outside that do not know ECN inside.",
        "A router that marks what is not ECN-capable.",
        "`vdp explain tunnel_ecn`.",
    ),
    "rx_length_errors": (
        "Packets that are cut short.",
        "Damage on the way.",
        "`vdp explain tunnel_truncated`.",
    ),
    "tx_carrier_errors": (
        "Packets without a route to the tunnel's remote.",
        "No route, or its device is down.",
        "`ip route get REMOTE`; `vdp explain no_route`.",
    ),
    "tx_aborted_errors": (
        "Packets that could not go out: too large, or without an address.",
        "The path's MTU, or a source that the host has not.",
        "`vdp link show LINK`: MTU; `vdp explain mtu_exceeded`.",
    ),
    "tx_fifo_errors": (
        "Packets without a next hop on a multipoint link.",
        "What comes by a bridge, connect or rule has none.",
        "A `[[route]]` with `next_hop`.",
    ),
    "collisions": (
        "Packets whose way leads back into the tunnel.",
        "The route to the remote goes through the tunnel itself.",
        "`vdp explain tunnel_loop`.",
    ),
    "multicast": ("Packets to groups that a link received.", "Multicast and broadcast traffic.", _LINK),
}
