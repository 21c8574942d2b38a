"""A datapath view with a little of everything, for tests of what shows it."""

from __future__ import annotations

from vdp.control.view import (
    BridgeRow,
    DropRow,
    FlowCounts,
    FlowRow,
    HandlerRow,
    LinkRow,
    MacRow,
    PluginRow,
    PortCounters,
    PortRow,
    ReasonRow,
    RouteRow,
    RuleRow,
    StatusRow,
    WorkerRow,
)


def counters(**values: int) -> PortCounters:
    names = PortCounters.__annotations__
    assert values.keys() <= names.keys()
    zero: PortCounters = dict.fromkeys(names, 0)  # type: ignore[assignment]
    return {**zero, **values}  # type: ignore[typeddict-item]


def port(name: str, kind: str = "tap", number: int = 1, **values: int) -> PortRow:
    return {
        "name": name,
        "type": kind,
        "number": number,
        "packet_type": "l2",
        "device": name if kind == "tap" else None,
        "netns": None,
        "mtu": 1462,
        "up": True,
        "carrier": True if kind == "tap" else None,
        "error": None,
        "features": ["vnet_hdr", "csum"] if kind == "tap" else [],
        "queues": 1,
        "kernel_drops": 0,
        "rx_ring": 4096 if kind == "raw" else 0,
        "txqueuelen": 1000 if kind == "tap" else None,
        "counters": counters(**values),
    }


def worker(number: int, **values: int) -> WorkerRow:
    names = WorkerRow.__annotations__
    assert values.keys() <= names.keys()
    zero: WorkerRow = dict.fromkeys(names, 0)  # type: ignore[assignment]
    return {**zero, "worker": number, **values}  # type: ignore[typeddict-item]


class FakeView:
    """Tests change its attributes to say what there is."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []  # changes, by method and name
        self.ports = [
            port(
                "tap0",
                rx_packets=10,
                rx_bytes=1000,
                rx_segments=30,
                hits=9,
                misses=1,
                upcalls=3,
                refused=2,
                offered=4,
                tx_packets=4,
                tx_bytes=400,
                tx_segments=5,
            ),
            port("underlay", "raw", 2, rx_packets=5, rx_bytes=700, rx_segments=5, held=2, dropped=7),
            port("gt1", "gro-cell", 3, rx_packets=3, rx_segments=30, merged=27, segmented=6),
        ]
        self.ports[1]["error"] = "ENETDOWN: Network is down"
        self.ports[1]["up"] = False
        self.links: list[LinkRow] = [
            {
                "name": "gt1",
                "kind": "gretap",
                "number": 3,
                "underlay": "underlay",
                "packet_type": "l2",
                "local": "192.0.2.1",
                "remote": "192.0.2.2",
                "ikey": 42,
                "okey": 42,
                "iflags": ["key"],
                "oflags": ["key"],
                "ttl": "inherit",
                "tos": 0,
                "pmtudisc": True,
                "mtu": 1462,
                "up": True,
                "config": {"name": "gt1", "kind": "gretap", "underlay": "underlay", "key": 42},
                "counters": {
                    "rx_packets": 8,
                    "rx_bytes": 800,
                    "tx_packets": 9,
                    "tx_bytes": 900,
                    "rx_errors": 3,
                    "rx_crc_errors": 2,
                    "rx_fifo_errors": 1,
                    "tx_errors": 0,
                    "rx_dropped": 4,
                },
                "err_count": 1,
                "err_age_s": 2.5,
                "err_from": "192.0.2.254",
                "icmp_errors": {"path_mtu": 1, "route": 0, "failure": 3, "ignored": 2},
                "path_mtu": 1400,
            }
        ]
        self.flows: list[FlowRow] = [
            {
                "id": 7,
                "worker": 0,
                "in_port": "underlay",
                "min_length": 42,
                "max_length": 65792,
                "match": [
                    {
                        "field": "ip.proto",
                        "offset": 9,
                        "mask": "ff",
                        "value": "2f",
                        "text": "ip.proto=47",
                        "source": "vdp_gre/receive.py:20",
                    }
                ],
                "actions": [
                    {"text": "pull 28", "source": "vdp_gre/receive.py:44"},
                    {"text": "output gt1", "source": "vdp/links/link.py:9"},
                ],
                "packets": 12,
                "bytes": 1234,
                "age_s": 3.25,
                "idle_s": 0.5,
                "plugins": ["gre"],
            }
        ]
        self.handlers: list[HandlerRow] = [
            {
                "list": "cisco",
                "priority": 10,
                "name": "wccp",
                "plugin": "wccp",
                "verdicts": {"received": 1, "reject": 2, "drop": 3, "error": 4, "timeout": 5},
                "seconds": 0.25,
                "icmp_errors": {"received": 1, "reject": 0, "error": 0},
                "last_error": "ValueError: \x1b[31mred",
                "state": "quarantine",
                "quarantine_left_s": 1.5,
                "quarantines": 2,
            },
            {
                "list": "ip-protocol",
                "priority": 47,
                "name": "gre",
                "plugin": "gre",
                "verdicts": {"received": 5, "reject": 0, "drop": 0, "error": 0, "timeout": 0},
                "seconds": 1.5,
                "icmp_errors": {"received": 1, "reject": 0, "error": 0},
                "last_error": "",
                "state": "asked",
                "quarantine_left_s": None,
                "quarantines": 0,
            },
        ]
        self.plugins: list[PluginRow] = [
            {
                "name": "gre",
                "version": "0.1.0",
                "state": "loaded",
                "error": "",
                "distribution": "vdp",
                "provides": ["link kind gre"],
                "passed_over": [],
                "calls": [],
                "counters": [],
            },
            {
                "name": "wccp",
                "version": "",
                "state": "failed",
                "error": "ImportError: no",
                "distribution": "vdp",
                "provides": [],
                "passed_over": ["wccp"],
                "calls": [
                    {
                        "kind": "timer",
                        "name": "vdp_wccp.tick",
                        "times": 9,
                        "failures": 5,
                        "last_error": "ValueError: \x1b[31mred",
                        "state": "quarantine",
                        "quarantine_left_s": 1.5,
                    }
                ],
                "counters": [],
            },
        ]
        self.drops: list[DropRow] = [
            {"port": "underlay", "reason": "tunnel_no_link", "text": "no link has it", "packets": 6},
            {
                "port": "underlay",
                "reason": "wccp_bad_group",
                "text": "a group without a service",
                "packets": 1,
            },
        ]
        self.reasons: list[ReasonRow] = [
            {"reason": "parse_truncated", "text": "it ends early", "plugin": ""},
            {"reason": "tunnel_no_link", "text": "no link has it", "plugin": ""},
            {"reason": "wccp_bad_group", "text": "a group without a service", "plugin": "wccp"},
        ]
        self.macs: list[MacRow] = [
            {"bridge": "br0", "mac": "02:00:00:00:00:01", "member": "tap0", "age_s": 1.5, "held": False}
        ]
        self.state: StatusRow = {
            "version": "0.1.0",
            "pid": 4711,
            "uptime_s": 3725.5,
            "config": "etc/vdp.toml",
            "reloads": {
                "results": {"applied": 2, "unchanged": 1, "invalid": 1, "refused": 0, "failed": 0},
                "was_good": True,
                "read_s": 1_700_000_000.0,
            },
            "ready": True,
            "missing": [],
            "ports": 3,
            "links": 1,
            "bridges": ["br0", "br1"],
            "plugins": 2,
            "control": "/run/vdp/vdp.sock",
            "metrics": "http://127.0.0.1:9479/metrics",
            "workers": [
                worker(0, iterations=100, busy_ns=1_500_000_000, idle_ns=500_000_000, lookups=18,
                       previous_hits=10, table_hits=5, misses=3, mask_probes=20, upcalls_lost=2, flows=1,
                       masks=1, packets_free=2000, packets_total=2048),
                worker(1, iterations=7, misses=1, upcalls_lost=1, actions_suppressed=6),
            ],
            "flows": {
                "limit": 65536, "inserts": 9, "refused": 7, "evictions": {"idle": 4, "flush": 1},
                "refusals": {"masks": 5, "limit": 2}, "bound": 57344, "bound_steps": {"grew": 3},
            },
            "overload": {
                "busy": 0.97, "lost": 0.0, "memory": 0.25,
                "steps": [
                    {"step": "admission", "taken": True, "count": 2, "cause": "a worker is busy",
                     "effect": "a port gets 500 new flows a second"},
                    {"step": "memory", "taken": False, "count": 0, "cause": "memory is used:",
                     "effect": "no captures"},
                ],
            },
            "upcalls": {
                "total": {"miss": 4, "action": 2},
                "seconds": {"bounds": [0.001, 0.01], "counts": [3, 2, 1], "sum": 0.05},
            },
            "icmp": {
                "sent": {"ipv4": {"port_unreachable": 5}, "ipv6": {"packet_too_big": 0}},
                "suppressed": {"host": 4, "global": 0},
                "received": {"received": 6, "reject": 1, "malformed": 2},
            },
            "log": {"info": 5, "warning": 2},
            "netlink": [
                {"netns": None, "events": 30, "overruns": 0, "in_step": True, "lost_ago_s": None},
                {"netns": "blue", "events": 4, "overruns": 1, "in_step": True, "lost_ago_s": 600.0},
            ],
            "requests": {"port.show": {"ok": 8, "error": 1}, "other": {"ok": 0, "error": 3}},
        }  # fmt: skip

    def show_ports(self) -> list[PortRow]:
        return self.ports

    def show_links(self) -> list[LinkRow]:
        return self.links

    def flow_counts(self) -> FlowCounts:
        return FlowCounts(
            0, {(row["worker"], row["id"]): (row["packets"], row["bytes"]) for row in self.flows}
        )

    def dump_flows(self, sort: str = "", since: FlowCounts | None = None) -> list[FlowRow]:
        return self.flows

    def list_handlers(self) -> list[HandlerRow]:
        return self.handlers

    def list_plugins(self) -> list[PluginRow]:
        return self.plugins

    def show_drops(self) -> list[DropRow]:
        return self.drops

    def drop_reasons(self) -> list[ReasonRow]:
        return self.reasons

    def show_bridges(self) -> list[BridgeRow]:
        return [{"bridge": "br0", "members": ["tap0", "gt1"], "ageing_s": 300, "macs": len(self.macs)}]

    def show_routes(self) -> list[RouteRow]:
        return [{"destination": "10.0.0.0/8", "via": "gt1", "next_hop": None, "metric": 0}]

    def show_rules(self) -> list[RuleRow]:
        return [{"priority": 100, "match": ["in_port=tap0", "ip_dst=10.0.0.0/8"], "actions": ["drop"]}]

    def show_bridge_macs(self) -> list[MacRow]:
        return self.macs

    def status(self) -> StatusRow:
        return self.state
