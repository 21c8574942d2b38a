"""What it costs: the flow cache, the slow path, super-packets, workers, and the plugins' handlers."""

from __future__ import annotations

from tools.dashboards.overview import BUSY, HITS
from tools.dashboards.panel import (
    INSTANCE,
    SELECTED,
    Dashboard,
    Panel,
    Query,
    Section,
    device_rate,
    of,
    rate,
    share,
    total,
)

LOOKUPS = rate(of("vdp_flow_lookups_total"))
PROBES = share(total(rate(of("vdp_flow_mask_probes_total"))), total(LOOKUPS))
JOINED = share(total(rate(of("vdp_gro_segments_total"))), total(rate(of("vdp_gro_frames_total"))))
UPCALL_BUCKETS = total(rate(of("vdp_upcall_duration_seconds_bucket")), "le")
HANDLED = total(rate(of("vdp_handler_packets_total")), "list", "handler")
EXCEPTIONS = total(rate(of("vdp_handler_exceptions_total")), "handler")
TIMEOUTS = total(rate(of("vdp_handler_timeouts_total")), "handler")
HANDLER_TIME = total(rate(of("vdp_handler_seconds_total")), "list", "handler")


def quantile(share_of_all: float) -> str:
    return f"histogram_quantile({share_of_all}, {UPCALL_BUCKETS})"


def packets_per_frame(direction: str) -> str:
    """The mean size of super-packets, by port."""
    return share(
        total(device_rate(f"vdp_port_{direction}_packets_total"), "port"),
        total(device_rate(f"vdp_port_{direction}_frames_total"), "port"),
    )


WELL = Section(
    "Is it fast?",
    (
        Panel(
            "What needs no Python?", "Packets whose flow the cache knew.",
            "stat", "share", (Query(HITS, "hits"),), width=4, empty="nothing looked up",
            base="bad", steps=((0.5, "warning"), (0.9, "good")),
        ),
        Panel(
            "How many masks does a lookup try?",
            "Each costs some 30 ns. Many: a handler or rule reads what differs from packet to packet.",
            "stat", "count", (Query(PROBES, "masks"),), width=4, empty="nothing looked up",
            base="good", steps=((8, "warning"), (16, "bad")),
        ),
        Panel(
            "How long does a new flow wait?",
            "99 of 100 upcalls are done by then. Slow: a handler is; see below, and vdp handler list.",
            "stat", "seconds", (Query(quantile(0.99), "99 %"),), width=4, empty="no new flow",
            base="good", steps=((0.005, "warning"), (0.05, "bad")),
        ),
        Panel(
            "How many packets does GRO join?",
            "Wire packets in each frame that leaves a tunnel. 1: nothing to join, or not TCP of one stream.",
            "stat", "count", (Query(JOINED, "packets"),), width=4, empty="no tunnel traffic",
        ),
        Panel(
            "What does a packet cost?",
            "Time of all workers for each packet received. See docs/performance.md for what to expect.",
            "stat", "seconds",
            (
                Query(
                    share(
                        total(rate(of("vdp_worker_busy_seconds_total"))),
                        total(device_rate("vdp_port_receive_packets_total")),
                    ),
                    "a packet",
                ),
            ),
            width=4, empty="nothing received",
        ),
        Panel(
            "Are handlers passed over?",
            "In quarantine for failing too often, or disabled: vdp handler list.",
            "stat", "count", (Query(total(of("vdp_handler_passed_over")), "handlers"),), width=4,
            base="good", steps=((1, "bad"),),
        ),
    ),
)  # fmt: skip

CACHE = Section(
    "Does the flow cache work?",
    (
        Panel(
            "How are flows found?",
            "exact: the same as the packet before. wildcard: in the table. miss: Python decides.",
            "stack", "pps",
            (
                Query(total(rate(of("vdp_flow_lookups_total", 'result="exact"'))), "exact", "good"),
                Query(total(rate(of("vdp_flow_lookups_total", 'result="wildcard"'))), "wildcard", "calm"),
                Query(total(rate(of("vdp_flow_lookups_total", 'result="miss"'))), "miss", "warning"),
            ),
        ),
        Panel(
            "How many masks does a lookup try?",
            "16 is too many: vdp flow dump --explain says which line of which plugin made each guard.",
            "lines", "count",
            (Query(PROBES, "masks", "calm"),),
            steps=((16, "bad"),), empty="Nothing was looked up.",
        ),
        Panel(
            "How many flows and masks are there?",
            "A mask is what flows look at. How full the table is: Overview, the last panel.",
            "lines", "count",
            (
                Query(total(of("vdp_flow_entries")), "flows", "calm"),
                Query(total(of("vdp_flow_masks")), "masks"),
            ),
        ),
        Panel(
            "How fast do flows change?",
            "Many with few users: each packet makes its own flow, since a handler reads too much of it.",
            "lines", "/s",
            (
                Query(total(rate(of("vdp_flow_inserts_total"))), "installed", "calm"),
                Query(total(rate(of("vdp_flow_evictions_total")), "reason"), "removed: {reason}"),
            ),
        ),
        Panel(
            "How many packets need Python?",
            "miss: new flows. action: packets that a flow sends to Python each time. lost: over the limits.",
            "lines", "pps",
            (
                Query(total(rate(of("vdp_upcalls_total")), "reason"), "{reason}"),
                Query(total(rate(of("vdp_upcalls_lost_total"))), "lost", "bad"),
            ),
        ),
        Panel(
            "How long does a new flow wait?", "From taking an upcall to its resolution.",
            "lines", "seconds",
            (Query(quantile(0.5), "half of them", "calm"), Query(quantile(0.99), "99 of 100", "warning")),
            steps=((0.05, "bad"),), empty="No new flow in this time.",
        ),
    ),
)  # fmt: skip

SUPER_PACKETS = Section(
    "Do GSO and GRO save work?",
    (
        Panel(
            "How large are super-packets?",
            "Wire packets in each frame, by port. 1 where TCP runs: no offload there, see ethtool -k.",
            "lines", "count",
            (
                Query(packets_per_frame("receive"), "{port} in"),
                Query(packets_per_frame("transmit"), "{port} out"),
            ),
            empty="No frame in this time.",
        ),
        Panel(
            "What does GRO do behind tunnels?",
            "Packets that came out of a tunnel, and frames that went on: the gap is work saved.",
            "lines", "pps",
            (
                Query(total(rate(of("vdp_gro_segments_total"))), "packets", "receive"),
                Query(total(rate(of("vdp_gro_frames_total"))), "frames", "transmit"),
            ),
            empty="No link has a GRO cell.",
        ),
        Panel(
            "What must be cut?",
            "Frames made by cutting super-packets that the way out can not carry; refused: by the kernel.",
            "lines", "pps",
            (
                Query(total(rate(of("vdp_gso_segments_total"))), "cut", "calm"),
                Query(total(rate(of("vdp_gso_refused_frames_total"))), "refused", "bad"),
            ),
        ),
    ),
)  # fmt: skip

PLUGINS = Section(
    "Which plugin costs what?",
    (
        Panel(
            "Which handlers decide?",
            "Packets that each was asked about, those included whose flow was known.",
            "lines", "pps", (Query(f"{HANDLED} > 0", "{handler}"),), empty="No packet needed a handler.",
        ),
        Panel(
            "Which handlers take time?",
            "Of one core. Much: each packet makes a flow of its own, or the handler is slow.",
            "bars",
            "share",
            (Query(HANDLER_TIME, "{handler}"),),
            empty="There are no handlers.",
            steps=((0.1, "warning"), (0.5, "bad")),
        ),
        Panel(
            "Which handlers fail?",
            "vdp handler list has the last error; vdp plugin reload exchanges a plugin that is mended.",
            "stack", "pps",
            (
                Query(f"{EXCEPTIONS} > 0", "{handler} raised"),
                Query(f"{TIMEOUTS} > 0", "{handler} too slow"),
            ),
            empty="No handler failed.",
        ),
    ),
)  # fmt: skip

MACHINE = Section(
    "What does it take of the machine?",
    (
        Panel(
            "How busy is each worker?", "The share of time with work. Above 90 %, packets wait.",
            "lines", "share", (Query(BUSY, "{instance} worker {worker}"),), steps=((0.9, "bad"),),
        ),
        Panel(
            "How much processor does it use?", "Of one core; workers, slow path and all else.",
            "lines", "share", (Query(rate(of("process_cpu_seconds_total")), "{instance}"),),
        ),
        Panel(
            "How much memory does it use?",
            "Resident. A line that only rises: report it, with vdp bugreport.",
            "lines", "bytes", (Query(f"process_resident_memory_bytes{{{SELECTED}}}", "{instance}"),),
        ),
    ),
)  # fmt: skip

PERFORMANCE = Dashboard(
    "performance", "vdp: performance",
    "The flow cache, the slow path, super-packets, workers and plugins.",
    (WELL, CACHE, SUPER_PACKETS, PLUGINS, MACHINE), (INSTANCE,),
)  # fmt: skip
