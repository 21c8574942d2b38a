"""What the datapath shows of itself: vdp.control.view.DatapathView, row by row.

Read by the control socket and by the metrics; changes nothing.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vdp import __version__
from vdp.config.cautions import takes_anybody
from vdp.config.rules import action_word
from vdp.control import view
from vdp.control.server import OTHER, ControlServer
from vdp.engine.interface import Feature, PortStats, PortType
from vdp.flow_limit import STEPS
from vdp.flow_words import FlowRows
from vdp.links.icmp import MESSAGES
from vdp.links.link import Link
from vdp.links.tunnel_errors import Effect
from vdp.log import lines
from vdp.protocols.ethernet import format_mac
from vdp.reload.reload import RESULTS
from vdp.slowpath import REFUSALS

if TYPE_CHECKING:
    from vdp.config import Config
    from vdp.datapath import Datapath
    from vdp.forwarding.bridge import Bridge
    from vdp.netlink import System
    from vdp.overload.overload import Overload
    from vdp.ports.port import Port
    from vdp.reload.reload import Reload

#: Rows of a link that have a column of their own; what else fill_info says goes under `info`.
LINK_COLUMNS = ("underlay", "local", "remote", "ikey", "okey", "iflags", "oflags", "ttl", "tos", "pmtudisc")
TYPE_NAMES = {
    PortType.MEMORY: "memory",
    PortType.TAP: "tap",
    PortType.TUN: "tun",
    PortType.PACKET: "raw",
    PortType.IP: "raw",
    PortType.IP6: "raw",
    PortType.CELL: "gro-cell",
}
#: What an error handler can come to.
ERROR_OUTCOMES = ("received", "reject", "error")
NS = 1e9


class Inspector:
    """A DatapathView."""

    def __init__(self, datapath: Datapath, config: Config) -> None:
        self._datapath = datapath
        self._engine = datapath.engine
        self._config = config
        self._started = time.monotonic()
        #: It is set up once, and does not stop yet.
        self.is_started = False
        #: Who reads the configuration anew; None where nobody does.
        self.reload: Reload | None = None
        self.metrics_url = ""
        #: Who hears of the kernel, and who answers on the control socket; None where nobody does.
        self.system: System | None = None
        self.server: ControlServer | None = None
        #: Who sees to it that there is not too much to do; None where nobody does.
        self.overload: Overload | None = None

    def show_ports(self) -> list[view.PortRow]:
        rows = [self._port_row(port) for port in self._datapath.ports.values()]
        rows += [self._cell_row(link) for link in self._datapath.links.values()]
        return rows + [self._flood_row(bridge) for bridge in self._large_bridges()]

    def _large_bridges(self) -> list[Bridge]:
        return [bridge for bridge in self._datapath.forwarding.bridges.values() if bridge.large_flood.outlets]

    def _flood_row(self, bridge: Bridge) -> view.PortRow:
        """What all outlets of a bridge counted."""
        stats = [self._engine.port_stats(number) for number in bridge.large_flood.outlets.values()]
        counters = [_counters(each) for each in stats]
        sums = {name: sum(each[name] for each in counters) for name in counters[0]}  # type: ignore[literal-required]
        return {
            "name": bridge.name,
            "type": "flood",
            "number": 0,
            "packet_type": "l2",
            "device": None,
            "netns": None,
            "mtu": 0,
            "up": True,
            "carrier": None,
            "error": None,
            "trouble": None,
            "features": [],
            "queues": self._engine.workers,
            "kernel_drops": 0,
            "rx_ring": 0,
            "txqueuelen": None,
            "counters": sums,  # type: ignore[typeddict-item]
        }

    def _port_row(self, port: Port) -> view.PortRow:
        stats = self._engine.port_stats(port.number)
        return {
            "name": port.name,
            "type": TYPE_NAMES[port.type],
            "number": port.number,
            "packet_type": port.packet_type.name.lower(),
            "device": port.device,
            "netns": port.netns,
            "mtu": port.mtu,
            "up": stats.up,
            "carrier": _carrier(port),
            "error": _error(stats.error),
            "trouble": port.trouble or None,
            "features": [flag.name.lower() for flag in Feature if flag in port.features and flag.name],
            "queues": port.queues,
            "kernel_drops": port.kernel_drops,
            "rx_ring": stats.rx_ring,
            "txqueuelen": _txqueuelen(port),
            "counters": _counters(stats),
        }

    def _cell_row(self, link: Link) -> view.PortRow:
        stats = self._engine.port_stats(link.number)
        return {
            "name": link.name,
            "type": TYPE_NAMES[PortType.CELL],
            "number": link.number,
            "packet_type": link.packet_type.name.lower(),
            "device": None,
            "netns": None,
            "mtu": link.mtu,
            "up": stats.up,
            "carrier": None,
            "error": _error(stats.error),
            "trouble": None,
            "features": [],
            "queues": self._engine.workers,
            "kernel_drops": 0,
            "rx_ring": 0,
            "txqueuelen": None,
            "counters": _counters(stats),
        }

    def show_links(self) -> list[view.LinkRow]:
        rows = []
        for link in self._datapath.links.values():
            info = link.fill_info()
            row: view.LinkRow = {
                "name": link.name,
                "kind": link.kind.name,
                "number": link.number,
                "underlay": info.get("underlay", ""),
                "packet_type": link.packet_type.name.lower(),
                "local": info.get("local"),
                "remote": info.get("remote"),
                "ikey": info.get("ikey"),
                "okey": info.get("okey"),
                "iflags": info.get("iflags", []),
                "oflags": info.get("oflags", []),
                "ttl": info.get("ttl"),
                "tos": info.get("tos"),
                "pmtudisc": info.get("pmtudisc"),
                "mtu": link.mtu,
                "up": link.up,
                "counters": link.stats(),
                "err_count": link.errors.count if link.errors else 0,
                "err_age_s": link.errors.age_s if link.errors else None,
                "err_from": str(link.errors.last_from) if link.errors and link.errors.last_from else None,
                "icmp_errors": {
                    effect.value: link.errors.effects[effect] if link.errors else 0 for effect in Effect
                },
                "path_mtu": link.path_mtu,
                "config": {"name": link.name, "kind": link.kind.name, "underlay": info.get("underlay", "")}
                | ({} if link.gro else {"gro": False})
                | ({"allow_any_remote": True} if takes_anybody(link.parameters) else {})
                | link.inner.said()
                | link.configuration(),
            }
            rest = {key: value for key, value in info.items() if key not in LINK_COLUMNS}
            if rest:
                row["info"] = rest
            rows.append(row)
        return rows

    def flow_counts(self) -> view.FlowCounts:
        return FlowRows(self._datapath).counts()

    def dump_flows(self, sort: str = "", since: view.FlowCounts | None = None) -> Iterable[view.FlowRow]:
        return FlowRows(self._datapath).rows(sort, since)

    def list_handlers(self) -> list[view.HandlerRow]:
        return [
            {
                "list": handler.list,
                "priority": handler.priority,
                "name": handler.name,
                "plugin": handler.owner,
                "verdicts": {
                    "received": self._packets(handler.counters["received"]),
                    "reject": self._packets(handler.counters["reject"]),
                    "drop": self._packets(handler.counters["drop"]),
                    "error": self._packets(handler.counters["error"]),
                    "timeout": self._packets(handler.counters["timeout"]),
                },
                "icmp_errors": {outcome: handler.errors[outcome] for outcome in ERROR_OUTCOMES},
                "seconds": handler.seconds,
                "last_error": handler.last_error,
                "state": handler.conduct.state,
                "quarantine_left_s": handler.conduct.left_s(self._engine.clock()),
                "quarantines": handler.conduct.terms,
            }
            for handler in self._datapath.registry
        ]

    def list_plugins(self) -> list[view.PluginRow]:
        plugins = self._datapath.plugins
        rows: list[view.PluginRow] = []
        for info in plugins.infos.values():
            provides = [f"link kind {kind}" for kind in plugins.kinds_of.get(info.name, ())]
            provides += [
                f"handler {handler.list}/{handler.priority} {handler.name}"
                for handler in self._datapath.registry
                if handler.owner == info.name
            ]
            calls = self._calls_of(info.name)
            rows.append(
                {
                    "name": info.name,
                    "version": info.version,
                    "state": info.state,
                    "error": info.error,
                    "distribution": info.distribution,
                    "provides": provides,
                    "passed_over": [
                        handler.name
                        for handler in self._datapath.registry
                        if handler.owner == info.name and handler.conduct.is_out
                    ]
                    + [f"{call['kind']} {call['name']}" for call in calls if call["state"] != "asked"],
                    "calls": calls,
                    "counters": self._counters_of(info.name),
                }
            )
        return rows

    def _calls_of(self, plugin: str) -> list[view.CalledRow]:
        now = self._engine.clock()
        return [
            {
                "kind": called.kind,
                "name": called.name,
                "times": called.times,
                "failures": called.failures,
                "last_error": called.last_error,
                "state": called.conduct.state,
                "quarantine_left_s": called.conduct.left_s(now),
            }
            for called in self._datapath.calls()
            if called.owner == plugin
        ]

    def _counters_of(self, plugin: str) -> list[view.PluginCounterRow]:
        return [
            {
                "name": family.metric,
                "text": family.text,
                "labels": dict(zip(family.names, values, strict=True)),
                "packets": count.packets,
                "bytes": count.bytes,
            }
            for family in self._datapath.counters
            if family.plugin == plugin
            for values, count in family
        ]

    def show_drops(self) -> list[view.DropRow]:
        drops = self._datapath.drops
        rows: list[view.DropRow] = []
        owners: list[Port | Link] = [*self._datapath.ports.values(), *self._datapath.links.values()]
        counted = [(owner.name, self._engine.port_drops(owner.number)) for owner in owners]
        for bridge in self._large_bridges():
            outlets = [self._engine.port_drops(number) for number in bridge.large_flood.outlets.values()]
            counted.append((bridge.name, [sum(reasons) for reasons in zip(*outlets, strict=True)]))
        for port, reasons in counted:
            for code, packets in enumerate(reasons):
                if packets:
                    name, text = drops.name(code), drops.text(code)
                    rows.append({"port": port, "reason": name, "text": text, "packets": packets})
        return rows

    def drop_reasons(self) -> list[view.ReasonRow]:
        return [
            {"reason": reason.name, "text": reason.text, "plugin": reason.plugin}
            for reason in self._datapath.drops
            if reason.code
        ]

    def show_bridge_macs(self) -> list[view.MacRow]:
        return [
            self._mac_row(bridge, mac)
            for bridge in self._datapath.forwarding.bridges.values()
            for mac in bridge.stations
        ]

    def _held_rows(self) -> list[view.HeldRow]:
        bridges = self._datapath.forwarding.bridges.values()
        held = [(bridge, macs) for bridge in bridges if (macs := bridge.mobility.held())]
        return [{**self._mac_row(bridge, macs[0]), "count": len(macs)} for bridge, macs in held]

    def _mac_row(self, bridge: Bridge, mac: bytes) -> view.MacRow:
        station = bridge.stations[mac]
        return {
            "bridge": bridge.name,
            "mac": format_mac(mac),
            "member": station.member,
            "age_s": max(0.0, (self._engine.clock() - station.heard_ns) / NS),
            "held": bridge.mobility.is_held(mac),
        }

    def show_bridges(self) -> list[view.BridgeRow]:
        return [
            {
                "bridge": bridge.name,
                "members": list(bridge.members),
                "ageing_s": bridge.ageing_s,
                "macs": len(bridge.stations),
            }
            for bridge in self._datapath.forwarding.bridges.values()
        ]

    def show_routes(self) -> list[view.RouteRow]:
        return [
            {
                "destination": str(route.destination),
                "via": route.via,
                "next_hop": None if route.next_hop is None else str(route.next_hop),
                "metric": route.metric,
            }
            for route in self._datapath.forwarding.routes.routes
        ]

    def show_rules(self) -> list[view.RuleRow]:
        return [
            {
                "priority": rule.priority,
                "match": list(rule.match),
                "actions": [action_word(action) for action in rule.actions],
            }
            for rule in self._datapath.forwarding.rules
        ]

    def missing(self) -> list[str]:
        """What of the configuration is not there to work with, such as "port lan"; none: vdp is ready.

        A port that is to be up and has no device, or one that can not be read or written any more; a
        link that is not made; a plugin that can not be loaded.  What an operator has set down or
        unloaded is not missing.  Nor is a device that is down or without a carrier: it is there.
        """
        ports = [section.name for section in self._config.ports if not self._works(section.name)]
        links = [link.name for link in self._config.links if link.name not in self._datapath.links]
        infos, wanted = self._datapath.plugins.infos, self._config.plugins.load
        plugins = [name for name in wanted if name in infos and infos[name].state == "failed"]
        named = (("port", ports), ("link", links), ("plugin", plugins))
        return [f"{what} {name}" for what, names in named for name in names]

    def _works(self, name: str) -> bool:
        port = self._datapath.ports.get(name)
        return port is not None and (not port.up or self._engine.port_stats(port.number).up)

    def status(self) -> view.StatusRow:
        slowpath, missing = self._datapath.slowpath, self.missing()
        limit = self._config.engine.flows * self._engine.workers
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": time.monotonic() - self._started,
            "config": str(self._config.path),
            "ready": self.is_started and not missing,
            "missing": missing,
            "ports": len(self._datapath.ports),
            "links": len(self._datapath.links),
            "bridges": list(self._datapath.forwarding.bridges),
            "plugins": sum(info.state == "loaded" for info in self._datapath.plugins.infos.values()),
            "reloads": self._reload_row(),
            "control": self._config.control.socket,
            "metrics": self.metrics_url,
            "workers": [self._worker_row(worker) for worker in range(self._engine.workers)],
            "flows": {
                "limit": limit,
                "inserts": slowpath.inserts,
                "refused": slowpath.evictions["refused"],
                "refusals": {why: slowpath.refusals[why] for why in REFUSALS},
                "bound": min(limit, slowpath.limit.value),
                "bound_steps": {step: slowpath.limit.steps[step] for step in STEPS},
                "evictions": {
                    why: slowpath.evictions[why] for why in ("idle", "limit", "revalidated", "flush")
                },
            },
            "upcalls": {
                "total": {reason: slowpath.upcalls[reason] for reason in ("miss", "action")},
                "seconds": {
                    "bounds": list(slowpath.durations.bounds),
                    "counts": list(slowpath.durations.counts),
                    "sum": slowpath.durations.sum,
                },
            },
            "overload": self._overload_row(),
            "held_macs": self._held_rows(),
            "troubles": [
                f"port {port.name}: {port.trouble}" for port in self._datapath.ports.values() if port.trouble
            ],
            "icmp": self._icmp_row(),
            "log": dict(lines()),
            "netlink": self._netlink_rows(),
            "requests": self._request_rows(),
        }

    def _reload_row(self) -> view.ReloadTotals:
        reload = self.reload
        return {
            "results": {result: reload.results[result] if reload else 0 for result in RESULTS},
            "was_good": reload.was_good if reload else True,
            "read_s": reload.read_s if reload else 0.0,
        }

    def _overload_row(self) -> view.OverloadRow:
        overload = self.overload
        if overload is None:
            return {"busy": 0.0, "lost": 0.0, "memory": 0.0, "steps": []}
        ladder, reading = overload.ladder, overload.reading
        return {
            "busy": reading.busy,
            "lost": reading.lost,
            "memory": reading.memory,
            "steps": [
                {
                    "step": rung.name,
                    "taken": ladder.is_taken(rung.name),
                    "count": ladder.counts[rung.name],
                    "cause": rung.cause,
                    "effect": rung.effect,
                }
                for rung in ladder.rungs
            ],
        }

    def adopt(self, config: Config) -> None:
        """That configuration is in force now."""
        self._config = config

    def _icmp_row(self) -> view.IcmpTotals:
        errors, received = self._datapath.icmp, self._datapath.icmp_input.outcomes
        sent: dict[str, dict[str, int]] = {}
        for said, (family, name) in MESSAGES.items():
            sent.setdefault(family, {})[name] = errors.sent[said]
        return {
            "sent": sent,
            "suppressed": {limit: errors.limits.suppressed[limit] for limit in ("host", "global")},
            "received": {outcome: received[outcome] for outcome in ("received", "reject", "malformed")},
        }

    def _netlink_rows(self) -> list[view.NetlinkRow]:
        return [
            {
                "netns": heard.netns,
                "events": heard.events_received,
                "overruns": heard.overruns,
                "in_step": heard.in_step,
                "lost_ago_s": None if heard.lost_at is None else time.monotonic() - heard.lost_at,
            }
            for heard in (self.system.netlinks if self.system else ())
        ]

    def _request_rows(self) -> dict[str, dict[str, int]]:
        if self.server is None:
            return {}
        counted = self.server.requests
        return {
            method: {outcome: counted[method, outcome] for outcome in ("ok", "error")}
            for method in sorted([*self.server.methods, OTHER])
        }

    def _worker_row(self, worker: int) -> view.WorkerRow:
        stats = self._engine.worker_stats(worker)
        return {
            "worker": worker,
            "iterations": stats.iterations,
            "busy_ns": stats.busy_ns,
            "idle_ns": stats.idle_ns,
            "lookups": stats.lookups,
            "previous_hits": stats.previous_hits,
            "table_hits": stats.table_hits,
            "misses": stats.misses,
            "mask_probes": stats.mask_probes,
            "upcalls_lost": stats.upcalls_lost,
            "actions_suppressed": stats.actions_suppressed,
            "flows": stats.flows,
            "masks": stats.masks,
            "packets_free": stats.packets_free,
            "packets_total": stats.packets_total,
            "calls_refused": stats.calls_refused,
            "different_masks": stats.different_masks,
            "queue_lost": stats.queue_lost,
        }

    def _packets(self, counter: int) -> int:
        return self._engine.read_counter(counter).packets


def _error(number: int) -> str | None:
    return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}" if number else None


def _carrier(port: Port) -> bool | None:
    """Whether the device under a port is up and its other end there; None: it has none."""
    if port.opened is None or port.opened.netlink is None or not port.opened.ifindex:
        return None
    device = port.opened.netlink.links.get(port.opened.ifindex)
    return device is not None and device.up and device.carrier


def _txqueuelen(port: Port) -> int | None:
    """Of a TAP or TUN, as its device has it now, whoever set it."""
    if port.type not in (PortType.TAP, PortType.TUN) or port.opened is None:
        return None
    device = port.opened.netlink.links.get(port.opened.ifindex)
    return None if device is None else device.txqueuelen


def _counters(stats: PortStats) -> view.PortCounters:
    return {
        "rx_packets": stats.rx_packets,
        "rx_bytes": stats.rx_bytes,
        "rx_segments": stats.rx_segments,
        "injected": stats.injected,
        "cloned": stats.cloned,
        "segmented": stats.segmented,
        "forwarded": stats.forwarded,
        "dropped": stats.dropped,
        "consumed": stats.consumed,
        "held": stats.held,
        "offered": stats.offered,
        "tx_packets": stats.tx_packets,
        "tx_bytes": stats.tx_bytes,
        "tx_segments": stats.tx_segments,
        "tx_dropped": stats.tx_dropped,
        "tx_queued": stats.tx_queued,
        "merged": stats.merged,
        "upcalls": stats.upcalls,
        "hits": stats.hits,
        "misses": stats.misses,
        "refused": stats.refused,
    }
