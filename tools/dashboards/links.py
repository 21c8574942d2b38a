"""Links and the errors of their protocols: which tunnel is silent, what arrives broken, who refuses what."""

from __future__ import annotations

from tools.dashboards.panel import (
    INSTANCE,
    LINK,
    Dashboard,
    Panel,
    Query,
    Section,
    of,
    of_link,
    rate,
    total,
)

STRANGERS = rate(of("vdp_drops_total", 'reason=~"tunnel_no_link|ip_source"'))
#: What can be wrong with a packet from the outside: its IP and GRE headers, and what a plugin reads.
BROKEN = rate(of("vdp_drops_total", 'reason=~"parse_.*|ip_.*|l4_.*|tunnel_.*|wccp_.*"'))
COMPLAINTS = total(rate(of_link("vdp_link_icmp_errors_total")), "link", "effect")
REFUSALS = total(rate(of("vdp_icmp_errors_sent_total")), "family", "error")
RELOADS = total(f"increase({of('vdp_config_reloads_total')}[$__rate_interval])", "result")
HEARD = of_link("vdp_link_last_receive_timestamp_seconds")
SENT = rate(of_link("vdp_link_transmit_packets_total"))
RECEIVED = rate(of_link("vdp_link_receive_packets_total"))


def by_link(title: str, text: str, direction: str, unit: str) -> Panel:
    expr = rate(of_link(f"vdp_link_{direction}_{unit}_total"))
    expr = total(f"8 * {expr}" if unit == "bytes" else expr, "link")
    return Panel(
        title, text, "lines", "bit/s" if unit == "bytes" else "pps", (Query(expr, "{link}"),), width=12,
        empty="No link is configured.",
    )  # fmt: skip


WELL = Section(
    "Do the links work?",
    (
        Panel(
            "How many links are down?", "vdp link show says why.",
            "stat", "count", (Query(f"sum(1 - {of_link('vdp_link_up')})", "down"),), width=4,
            empty="no link", base="good", steps=((1, "bad"),),
        ),
        Panel(
            "How many are silent?",
            "They send and hear nothing: the other end is gone, or what one side sends is lost on the way "
            "or dropped. tcpdump on the underlay.",
            "stat", "count",
            (Query(f"sum(({SENT} > bool 0) * ({RECEIVED} == bool 0))", "silent"),), width=4,
            empty="no link", base="good", steps=((1, "bad"),),
        ),
        Panel(
            "How much arrives?", "Through the chosen links, without the tunnels' headers.", "stat", "bit/s",
            (Query(total(f"8 * {rate(of_link('vdp_link_receive_bytes_total'))}"), "receive", "receive"),),
            width=4, base="receive",
        ),
        Panel(
            "How much is sent?", "Through the chosen links, without the tunnels' headers.", "stat", "bit/s",
            (Query(total(f"8 * {rate(of_link('vdp_link_transmit_bytes_total'))}"), "transmit", "transmit"),),
            width=4, base="transmit",
        ),
        Panel(
            "How many arrive broken?", "The kernel's rx_errors of the chosen links, a second.", "stat", "pps",
            (Query(total(rate(of_link("vdp_link_receive_errors_total"))), "errors", "bad"),), width=4,
            base="good", steps=((0.001, "warning"), (1, "bad")),
        ),
        Panel(
            "Do strangers knock?",
            "Tunnel packets that no link has asked for: other addresses, another key, or a forged source. "
            "A mistake at the other end, or an attempt.",
            "stat", "pps", (Query(total(STRANGERS), "strangers", "bad"),), width=4,
            base="good", steps=((0.001, "warning"), (1, "bad")),
        ),
    ),
)  # fmt: skip

TRAFFIC = Section(
    "What goes through them?",
    (
        by_link("Which link receives how much?", "Without the tunnel's headers.", "receive", "bytes"),
        by_link("Which link sends how much?", "Without the tunnel's headers.", "transmit", "bytes"),
        by_link("Which link receives how many packets?", "Packets decapsulated.", "receive", "packets"),
        by_link("Which link sends how many packets?", "Packets encapsulated.", "transmit", "packets"),
    ),
)  # fmt: skip

ERRORS = Section(
    "What is wrong with what arrives?",
    (
        Panel(
            "Which errors do links count?",
            "The kernel's kinds: rx_crc is a GRE checksum (wrong, missing or not wanted), rx_fifo a sequence "
            "number, rx_frame ECN, tx_carrier no way, collisions a tunnel in itself.",
            "stack", "pps",
            (Query(f"{total(rate(of_link('vdp_link_errors_total')), 'link', 'kind')} > 0", "{link} {kind}"),),
            empty="No error was counted.",
        ),
        Panel(
            "Which packets are broken or strange?",
            "Reasons about outer IP headers, GRE headers and what plugins read: `vdp explain REASON`.",
            "stack", "pps", (Query(f"{total(BROKEN, 'reason')} > 0", "{reason}"),),
            empty="Every packet was well formed, and some link's.",
        ),
        Panel(
            "Which links drop packets, or cannot send?",
            "rx_dropped: the GRO cell was full, vdp is behind. tx_errors, tx_dropped: no route, too large, "
            "no neighbour.",
            "lines", "pps",
            tuple(
                Query(total(rate(of_link(f"vdp_link_{name}_total")), "link"), f"{{link}} {short}")
                for name, short in (
                    ("receive_dropped", "rx dropped"), ("transmit_errors", "tx errors"),
                    ("transmit_dropped", "tx dropped"),
                )
            ),
            empty="No link is configured.",
        ),
    ),
)  # fmt: skip

ROAD = Section(
    "What does the way between the ends say?",
    (
        Panel(
            "Which ICMP errors come back?",
            "About the tunnels' packets, by effect: path_mtu lowers the path MTU, route and failure are "
            "reported inside, ignored was not believed.",
            "lines", "pps",
            (Query(f"{COMPLAINTS} > 0", "{link} {effect}"),),
            empty="No router complained.",
        ),
        Panel(
            "Which ICMP errors does vdp send?",
            "To senders inside: too large for the tunnel, or nobody there. Suppressed: over the limits.",
            "lines", "pps",
            (
                Query(f"{REFUSALS} > 0", "{family} {error}"),
                Query(total(rate(of("vdp_icmp_errors_suppressed_total"))), "suppressed", "warning"),
            ),
        ),
        Panel(
            "How large may a packet be?",
            "The MTU of each link. Far below the underlay's less the headers: somebody set it.",
            "bars", "B", (Query(f"max by (link) ({of_link('vdp_link_mtu_bytes')})", "{link}"),),
            empty="No link is configured.",
        ),
    ),
)  # fmt: skip

STATE = Section(
    "Since when?",
    (
        Panel(
            "Which links are up?", "vdp link show NAME says why one is not.",
            "states", "up", (Query(of_link("vdp_link_up"), "{instance} {link}"),),
            empty="No link is configured.", base="bad", steps=((1, "good"),),
        ),
        Panel(
            "When did a link hear its other end last?",
            "The time since its last packet. It rises: the other end is silent, or its packets are lost.",
            "lines", "seconds", (Query(f"time() - ({HEARD} > 0)", "{instance} {link}"),),
            empty="No link has heard anything yet.",
        ),
        Panel(
            "Was the configuration changed?",
            "Reloads by result, in the interval of each point. A failed one changes nothing.",
            "lines", "count",
            (Query(RELOADS, "{result}"),),
        ),
    ),
)  # fmt: skip

LINKS = Dashboard(
    "links", "vdp: links and protocol errors",
    "Which tunnel is silent, what arrives broken, who refuses what.",
    (WELL, TRAFFIC, ERRORS, ROAD, STATE), (INSTANCE, LINK),
)  # fmt: skip
