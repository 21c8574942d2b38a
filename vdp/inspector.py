"""What the datapath shows of itself: vdp.control.view.DatapathView, row by row.

Read by the control socket and by the metrics; changes nothing.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from vdp import __version__
from vdp.control import view
from vdp.engine import program as act
from vdp.engine.interface import Feature, PortStats, PortType
from vdp.links.icmp import MESSAGES
from vdp.links.link import Link
from vdp.links.tunnel_errors import Effect
from vdp.protocols.ethernet import format_mac

if TYPE_CHECKING:
    from vdp.config import Config
    from vdp.datapath import Datapath
    from vdp.flows import Flow
    from vdp.ports.port import Port
    from vdp.trace import Guard

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
        self.ready = False
        self.metrics_url = ""

    def show_ports(self) -> list[view.PortRow]:
        rows = [self._port_row(port) for port in self._datapath.ports.values()]
        return rows + [self._cell_row(link) for link in self._datapath.links.values()]

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
            "error": _error(stats.error),
            "features": [flag.name.lower() for flag in Feature if flag in port.features and flag.name],
            "queues": port.queues,
            "kernel_drops": port.kernel_drops,
            "rx_ring": stats.rx_ring,
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
            "error": _error(stats.error),
            "features": [],
            "queues": self._engine.workers,
            "kernel_drops": 0,
            "rx_ring": 0,
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
                "icmp_errors": {
                    effect.value: link.errors.effects[effect] if link.errors else 0 for effect in Effect
                },
                "config": {"name": link.name, "kind": link.kind.name, "underlay": info.get("underlay", "")}
                | ({} if link.gro else {"gro": False})
                | link.configuration(),
            }
            rest = {key: value for key, value in info.items() if key not in LINK_COLUMNS}
            if rest:
                row["info"] = rest
            rows.append(row)
        return rows

    def dump_flows(self) -> list[view.FlowRow]:
        now = self._engine.clock()
        rows = []
        for worker in range(self._engine.workers):
            for stats in self._engine.dump(worker):
                flow = self._datapath.slowpath.index.flows.get((worker, stats.id))
                if flow is None:
                    continue
                row: view.FlowRow = {
                    "id": stats.id,
                    "worker": worker,
                    "in_port": self._name(flow.match.in_port),
                    "min_length": flow.match.min_length,
                    "max_length": flow.match.max_length,
                    "match": [_match_row(guard) for guard in flow.guards if guard.space != "length"],
                    "actions": self._action_rows(flow.program),
                    "packets": stats.packets,
                    "bytes": stats.bytes,
                    "age_s": (now - flow.created_ns) / NS,
                    "idle_s": (now - max(stats.used_ns, flow.created_ns)) / NS,
                    "plugins": self._plugins_of(flow),
                }
                rows.append(row)
        return rows

    def _action_rows(self, program: act.Program, indent: str = "") -> list[view.ActionRow]:
        rows: list[view.ActionRow] = []
        for action in program:
            rows.append({"text": indent + self._action_text(action), "source": action.source})
            if isinstance(action, act.Clone):
                rows += self._action_rows(action.body, indent + "  ")
        return rows

    def _action_text(self, action: act.Action) -> str:
        drops = self._datapath.drops
        match action:
            case act.Drop(reason):
                return f"drop {drops.name(reason)}"
            case act.Output(port):
                return f"output {self._name(port)}"
            case act.Clone():
                return "clone"
            case act.Pull(size):
                return f"pull {size} bytes"
            case act.Push(data):
                return f"push {len(data)} bytes {data.hex()}"
            case act.Set(offset, mask, value):
                return f"set {value.hex()}/{mask.hex()} at {offset}"
            case act.Copy(to, origin, mask):
                return f"copy byte {origin} to {to}" + ("" if mask == 0xFF else f" mask {mask:#04x}")
            case act.Length(offset, start, addend):
                return f"length from {start}{f' {addend:+d}' if addend else ''} to {offset}"
            case act.Id(offset):
                return f"identification at {offset}"
            case act.Sequence32(offset):
                return f"sequence number at {offset}"
            case act.Checksum(offset, start, size):
                return f"checksum of {f'{size} bytes' if size else 'all'} from {start} to {offset}"
            case act.Trim(offset, addend, otherwise):
                return f"trim to length at {offset}{f' {addend:+d}' if addend else ''}" + self._else(
                    otherwise
                )
            case act.RequireChecksum(start, size, otherwise):
                return f"require checksum of {f'{size} bytes' if size else 'all'} from {start}" + self._else(
                    otherwise
                )
            case act.RequireLength(least, most, otherwise, per_segment):
                bound = f"at least {least}" if least else f"at most {most}"
                return f"require {bound} bytes{' a segment' if per_segment else ''}" + self._else(otherwise)
            case act.RequireSequence(offset, _, otherwise, _, late):
                what = "sequence number, or a late one," if late else "sequence number"
                return f"require {what} at {offset}" + self._else(otherwise)
            case act.Account(sent, lost, lost_too):
                names = self._counter_names()
                told = " and ".join(str(names.get(number, number)) for number in (lost, lost_too) if number)
                return f"count {names.get(sent, sent)} if sent, {told} if lost"
            case act.State32(offset, state, addend):
                return f"number of state {state}{f' {addend:+d}' if addend else ''} at {offset}"
            case act.Hash(offset, start, size):
                return f"hash of {size} bytes from {start} to {offset}"
            case act.UdpChecksum(_, _, offset):
                return f"UDP checksum of what is from {offset}"
            case act.RequireUdp(_, _, offset, otherwise, zero):
                return f"require UDP checksum{' or none' if zero else ''} at {offset}" + self._else(otherwise)
            case act.Fragment(_, most, otherwise):
                return f"fragment to {most} bytes" + self._else(otherwise)
            case act.Ttl(version, offset, otherwise):
                return f"decrement TTL of IPv{version} at {offset}" + self._else(otherwise)
            case act.Count(counter):
                return f"count {self._counter_names().get(counter, counter)}"
            case act.Segment(features):
                kept = [flag.name.lower() for flag in Feature if flag & features and flag.name]
                return "segment" + (f" but {', '.join(kept)}" if kept else "")
            case act.Upcall(cookie, state):
                return f"upcall {cookie}" + ("" if state is None else f" while state {state} is not zero")
            case act.Meta(word, value):
                return f"meta {word} := {value:#x}"
            case act.MetaLoad(word, offset, mask):
                return f"meta {word} := 4 bytes at {offset} mask {mask:#x}"
        return action.name

    def _else(self, otherwise: act.Program) -> str:
        last = otherwise[-1]
        return f", else {self._datapath.drops.name(last.reason)}" if isinstance(last, act.Drop) else ""

    def _counter_names(self) -> dict[int, str]:
        return {
            getattr(link.counters, name): f"{link.name}.{name}"
            for link in self._datapath.links.values()
            for name in link.counters.names()
        }

    def _plugins_of(self, flow: Flow) -> list[str]:
        """Owners of the handlers that were asked when the flow was traced."""
        owners = {(handler.list, handler.name): handler.owner for handler in self._datapath.registry}
        asked = [(name, handler) for name, handler, _ in flow.asked]
        return list(dict.fromkeys(owners[key] for key in asked if key in owners))

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
                    ],
                }
            )
        return rows

    def show_drops(self) -> list[view.DropRow]:
        drops = self._datapath.drops
        rows: list[view.DropRow] = []
        owners: list[Port | Link] = [*self._datapath.ports.values(), *self._datapath.links.values()]
        for owner in owners:
            for code, packets in enumerate(self._engine.port_drops(owner.number)):
                if packets:
                    name, text = drops.name(code), drops.text(code)
                    rows.append({"port": owner.name, "reason": name, "text": text, "packets": packets})
        return rows

    def drop_reasons(self) -> list[view.ReasonRow]:
        return [
            {"reason": reason.name, "text": reason.text, "plugin": reason.plugin}
            for reason in self._datapath.drops
            if reason.code
        ]

    def show_bridge_macs(self) -> list[view.MacRow]:
        now = self._engine.clock()
        return [
            {
                "bridge": bridge.name,
                "mac": format_mac(mac),
                "member": station.member,
                "age_s": max(0.0, (now - station.heard_ns) / NS),
            }
            for bridge in self._datapath.forwarding.bridges.values()
            for mac, station in bridge.stations.items()
        ]

    def status(self) -> view.StatusRow:
        slowpath = self._datapath.slowpath
        limit = self._config.engine.flows * self._engine.workers
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": time.monotonic() - self._started,
            "config": str(self._config.path),
            "ready": self.ready,
            "ports": len(self._datapath.ports),
            "links": len(self._datapath.links),
            "bridges": list(self._datapath.forwarding.bridges),
            "plugins": sum(info.state == "loaded" for info in self._datapath.plugins.infos.values()),
            "control": self._config.control.socket,
            "metrics": self.metrics_url,
            "workers": [self._worker_row(worker) for worker in range(self._engine.workers)],
            "flows": {
                "limit": limit,
                "inserts": slowpath.inserts,
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
            "icmp": self._icmp_row(),
        }

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
        }

    def _packets(self, counter: int) -> int:
        return self._engine.read_counter(counter).packets

    def _name(self, number: int) -> str:
        found = self._datapath.port_by_number(number)
        return found.name if found is not None else str(number)


def _match_row(guard: Guard) -> view.MatchRow:
    value = guard.value.hex()
    full = all(byte == 0xFF for byte in guard.mask)
    name = guard.label or f"{guard.space}[{guard.offset}]"
    return {
        "field": name,
        "offset": guard.offset,
        "mask": guard.mask.hex(),
        "value": value,
        "text": f"{name}={value}" + ("" if full else f"/{guard.mask.hex()}"),
        "source": guard.source,
    }


def _error(number: int) -> str | None:
    return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}" if number else None


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
