"""The first page to look at: is it well, what comes and goes, what is lost, what is down."""

from __future__ import annotations

from tools.dashboards.panel import (
    DEVICES,
    INSTANCE,
    SELECTED,
    Dashboard,
    Panel,
    Query,
    Section,
    Tone,
    Unit,
    device_rate,
    of,
    rate,
    share,
    total,
)

#: Rules drop what they are told to, and an ICMP error that ends here is no loss.
LOST = rate(of("vdp_drops_total", 'reason!~"policy_.*|icmp_error"'))
ON_PURPOSE = rate(of("vdp_drops_total", 'reason=~"policy_.*"'))
#: What Prometheus says of its target, that says nothing itself: 0 is -1 here.
UP = of("up", 'job="vdp"')
FIRING = of("ALERTS", 'alertname=~"Vdp.*",alertstate="firing"')
BUSY = share(
    rate(of("vdp_worker_busy_seconds_total")),
    f"({rate(of('vdp_worker_busy_seconds_total'))} + {rate(of('vdp_worker_idle_seconds_total'))})",
)
HITS = share(
    total(rate(of("vdp_flow_lookups_total", 'result!="miss"'))),
    total(rate(of("vdp_flow_lookups_total"))),
)


def moved(direction: str, unit: str) -> str:
    """What the ports received or transmitted: "packets", or "bytes" as bits."""
    expr = device_rate(f"vdp_port_{direction}_{unit}_total")
    return f"8 * {expr}" if unit == "bytes" else expr


def shown(unit: str) -> Unit:
    return "bit/s" if unit == "bytes" else "pps"


def by_port(title: str, text: str, direction: str, unit: str) -> Panel:
    return Panel(
        title, text, "lines", shown(unit),
        (Query(total(moved(direction, unit), "port"), "{port}"),), width=12,
        empty="No port was there in this time.",
    )  # fmt: skip


def whole(title: str, text: str, direction: str, unit: str, tone: Tone) -> Panel:
    expr = total(moved(direction, unit))
    return Panel(title, text, "stat", shown(unit), (Query(expr, direction, tone),), width=3, base=tone)


WELL = Section(
    "Is it well?",
    (
        Panel(
            "Is everything set up?",
            "Ready: each vdp answers, and each port, link and plugin configured is there. Not ready: vdp "
            "status says what lacks. No answer: systemctl status vdp, or Prometheus' page Targets.",
            "stat", "ready",
            (Query(f"min({of('vdp_ready')} or ({UP} - 1 < 0))", "ready"),), width=3,
            empty="Prometheus knows no vdp", base="bad", steps=((1, "good"),),
        ),
        Panel(
            "How many alerts fire?",
            "Those of etc/prometheus/vdp.rules.yml; Prometheus' page Alerts has their sentences.",
            "stat", "count",
            (Query(f"count({FIRING}) or vector(0)", "alerts"),),
            width=3, base="good", steps=((1, "bad"),),
        ),
        Panel(
            "What share is lost?",
            "Packets dropped, not by rules, of those received. Which, and why: below.",
            "stat", "share",
            (Query(share(total(LOST), total(moved("receive", "packets"))), "lost"),),
            width=3, empty="nothing received", base="good", steps=((0.001, "warning"), (0.01, "bad")),
        ),
        Panel(
            "What needs no Python?",
            "Packets whose flow the cache knew. When it falls, the page Performance says what misses.",
            "stat", "share", (Query(HITS, "hits"),), width=3, empty="nothing looked up",
            base="bad", steps=((0.5, "warning"), (0.9, "good")),
        ),
        Panel(
            "How busy are workers?",
            "The busiest one. Above 90 % packets get lost soon: more of them ([engine] workers).",
            "stat", "share", (Query(f"max({BUSY})", "busy"),), width=3,
            base="good", steps=((0.75, "warning"), (0.9, "bad")),
        ),
        whole("How much comes in?", "All ports with a device, in bits.", "receive", "bytes", "receive"),
        whole("How much goes out?", "All ports with a device, in bits.", "transmit", "bytes", "transmit"),
        Panel(
            "How long does it run?",
            "A small number that nobody expects: it crashed, and was started anew. journalctl -u vdp.",
            "stat", "seconds", (Query(f"min(vdp_uptime_seconds{{{SELECTED}}})", "up since"),), width=3,
        ),
        Panel(
            "Which alerts fire, and since when?",
            "Prometheus' page Alerts has the sentence of each, and the command that shows more.",
            "states", "fires",
            (Query(f"max by (instance, alertname) ({FIRING})", "{instance} {alertname}"),), width=24,
            empty="No alert fired in this time.", steps=((1, "bad"),), base="good",
        ),
    ),
)  # fmt: skip

TRAFFIC = Section(
    "What comes and goes?",
    (
        by_port("Where do bits come in?", "Bytes of frames read, times 8.", "receive", "bytes"),
        by_port("Where do bits go out?", "Bytes of frames written, times 8.", "transmit", "bytes"),
        by_port(
            "Where do packets come in?",
            "Packets of the wire: a super-packet counts as many as it stands for.", "receive", "packets",
        ),
        by_port(
            "Where do packets go out?",
            "Packets of the wire: a super-packet counts as many as it stands for.", "transmit", "packets",
        ),
    ),
)  # fmt: skip

LOSS = Section(
    "What is lost?",
    (
        Panel(
            "Why are packets dropped?",
            "By reason; docs/drops.md and `vdp explain REASON` say what each means and what to do.",
            "stack", "pps", (Query(f"{total(LOST, 'reason')} > 0", "{reason}"),),
            empty="Nothing was dropped.",
        ),
        Panel(
            "Where are packets dropped?",
            "By the port that they came in by; a link's name stands for its GRO cell.",
            "stack", "pps", (Query(f"{total(LOST, 'port')} > 0", "{port}"),), empty="Nothing was dropped.",
        ),
        Panel(
            "What is dropped by rules and the kernel?",
            "By rules, on purpose; and what the kernel lost in front of a port, which read too slowly.",
            "lines", "pps",
            (
                Query(f"{total(ON_PURPOSE)} or 0 * {total(of('vdp_ready'))}", "by rules", "calm"),
                Query(total(rate(of("vdp_port_kernel_drops_total"))), "by the kernel, in front", "bad"),
            ),
        ),
    ),
)  # fmt: skip

STATE = Section(
    "What is down, or full?",
    (
        Panel(
            "Which ports are up?", "vdp port show NAME has a port's last error.",
            "states", "up", (Query(f"{of('vdp_port_up')} * {DEVICES}", "{instance} {port}"),),
            base="bad", steps=((1, "good"),),
        ),
        Panel(
            "Which links are up?", "vdp link show NAME says why one is not.",
            "states", "up", (Query(of("vdp_link_up"), "{instance} {link}"),), empty="No link is configured.",
            base="bad", steps=((1, "good"),),
        ),
        Panel(
            "How full are tables, pools and workers?",
            "1 is full. Flows at the limit stay slow; an empty pool drops; a busy worker loses.",
            "lines", "share",
            (
                Query(f"max({BUSY})", "busiest worker"),
                Query(f"max({of('vdp_flow_entries')} / {of('vdp_flow_entries_limit')})", "flow table"),
                Query(
                    f"max(1 - {of('vdp_worker_pool_free_packets')} / {of('vdp_worker_pool_packets')})",
                    "packet pool",
                ),
            ),
            steps=((0.8, "warning"), (0.9, "bad")),
        ),
    ),
)  # fmt: skip

OVERVIEW = Dashboard(
    "overview", "vdp: overview",
    "Is it well, what comes and goes, what is lost, what is down.",
    (WELL, TRAFFIC, LOSS, STATE), (INSTANCE,),
)  # fmt: skip
