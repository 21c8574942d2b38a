"""Megaflows in words: a row a guard and a row an action, as `vdp flow dump` and `vdp trace` show them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from vdp.control import view
from vdp.engine import program as act
from vdp.engine.interface import Feature

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.engine.interface import FlowStats
    from vdp.flows import Flow
    from vdp.trace import Guard


NS = 1e9
Found = tuple[int, "FlowStats", "Flow"]  # worker, what the engine counts, what is known of it


class FlowRows:
    """The megaflows of a dataplane, as `vdp flow dump` has them."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._engine = datapath.engine

    def counts(self) -> view.FlowCounts:
        """What each has counted until now."""
        counts = {
            (worker, stats.id): (stats.packets, stats.bytes)
            for worker in range(self._engine.workers)
            for stats in self._engine.dump(worker)
        }
        return view.FlowCounts(self._engine.clock(), counts)

    def rows(self, sort: str, since: view.FlowCounts | None) -> Iterator[view.FlowRow]:
        """A row a flow, made when it is taken; see DatapathView.dump_flows."""
        now, index = self._engine.clock(), self._datapath.slowpath.index.flows
        words = FlowWords(self._datapath)
        owners = {(handler.list, handler.name): handler.owner for handler in self._datapath.registry}
        by_kind = {kind: name for name, kinds in self._datapath.plugins.kinds_of.items() for kind in kinds}
        links = self._datapath.links.values()
        givers: dict[Hashable, str] = {
            link.tag: by_kind[link.kind.name] for link in links if link.kind.name in by_kind
        }
        flows = [
            (worker, stats, flow)
            for worker in range(self._engine.workers)
            for stats in self._engine.dump(worker)
            if (flow := index.get((worker, stats.id))) is not None
        ]
        seconds = max(now - since.at_ns, 1) / NS if since else 0.0

        def gained(found: Found) -> tuple[int, int]:
            worker, stats, _ = found
            packets, size = since.counts.get((worker, stats.id), (0, 0)) if since else (0, 0)
            return stats.packets - packets, stats.bytes - size

        orders: dict[str, Callable[[Found], float]] = {
            "packets": lambda found: -found[1].packets,
            "bytes": lambda found: -found[1].bytes,
            "age": lambda found: found[2].created_ns,
            "used": lambda found: -max(found[1].used_ns, found[2].created_ns),
            "rate": lambda found: -gained(found)[0],
        }
        if sort:
            flows.sort(key=orders[sort])
        for found in flows:
            worker, stats, flow = found
            asked = [(name, handler) for name, handler, _ in flow.asked]
            row: view.FlowRow = {
                "id": stats.id,
                "worker": worker,
                "in_port": member_name(self._datapath, flow.match.in_port),
                "min_length": flow.match.min_length,
                "max_length": flow.match.max_length,
                "match": [match_row(guard) for guard in flow.guards if guard.space != "length"],
                "actions": words.action_rows(flow.program),
                "packets": stats.packets,
                "bytes": stats.bytes,
                "age_s": (now - flow.created_ns) / NS,
                "idle_s": (now - max(stats.used_ns, flow.created_ns)) / NS,
                "plugins": list(
                    dict.fromkeys(
                        [owners[key] for key in asked if key in owners]
                        + [givers[tag] for tag in sorted(flow.depends & givers.keys(), key=str)]
                    )
                ),
            }
            if since is not None:
                packets, size = gained(found)
                row["packets_per_s"], row["bits_per_s"] = packets / seconds, size * 8 / seconds
            yield row


class FlowWords:
    """Says actions by the names that a dataplane's ports, links, counters and drop reasons have now."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._counters = {
            getattr(link.counters, name): f"{link.name}.{name}"
            for link in datapath.links.values()
            for name in link.counters.names()
        } | {
            number: f"{handler.list}/{handler.name}.{outcome}"
            for handler in datapath.registry
            for outcome, number in handler.counters.items()
        }
        for family in datapath.counters:
            self._counters.update({number: f"{family.plugin}.{name}" for name, number in family.named()})

    def action_rows(self, program: Sequence[act.Action], indent: str = "") -> list[view.ActionRow]:
        """A row an action, those of a clone under it."""
        rows: list[view.ActionRow] = []
        for action in program:
            rows.append({"text": indent + self._action_text(action), "source": action.source})
            if isinstance(action, act.Clone):
                rows += self.action_rows(action.body, indent + "  ")
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
                names = self._counters
                told = " and ".join(str(names.get(number, number)) for number in (lost, lost_too) if number)
                return f"count {names.get(sent, sent)} if sent, {told} if lost"
            case act.State32(offset, state, addend):
                return f"number of state {state}{f' {addend:+d}' if addend else ''} at {offset}"
            case act.Hash(offset, start, size):
                return f"hash of {size} bytes from {start} to {offset}"
            case act.Group(group, besides):
                return f"copy to all of group {group}" + (f" but {self._name(besides)}" if besides else "")
            case act.WriteHeader(offset, header):
                return f"write header {header} at {offset}"
            case act.UdpChecksum(_, _, offset):
                return f"UDP checksum of what is from {offset}"
            case act.RequireUdp(_, _, offset, otherwise, zero):
                return f"require UDP checksum{' or none' if zero else ''} at {offset}" + self._else(otherwise)
            case act.Fragment(_, most, otherwise):
                return f"fragment to {most} bytes" + self._else(otherwise)
            case act.Ttl(version, offset, otherwise):
                return f"decrement TTL of IPv{version} at {offset}" + self._else(otherwise)
            case act.Count(counter):
                return f"count {self._counters.get(counter, counter)}"
            case act.Segment(features):
                kept = [flag.name.lower() for flag in Feature if flag & features and flag.name]
                return "segment" + (f" but {', '.join(kept)}" if kept else "")
            case act.Upcall(cookie, state):
                called = self._datapath.cookies.called(cookie)
                whom = called.name if called else f"{cookie}, whose plugin is gone"
                return f"upcall {whom}" + ("" if state is None else f" while state {state} is not zero")
            case act.Meta(word, value):
                return f"meta {word} := {value:#x}"
            case act.MetaLoad(word, offset, mask):
                return f"meta {word} := 4 bytes at {offset} mask {mask:#x}"
        return action.name

    def _else(self, otherwise: act.Program) -> str:
        last = otherwise[-1]
        return f", else {self._datapath.drops.name(last.reason)}" if isinstance(last, act.Drop) else ""

    def _name(self, number: int) -> str:
        return member_name(self._datapath, number)


def member_name(datapath: Datapath, number: int) -> str:
    """The port of an engine port number, the link whose cell, or the bridge and member whose outlet it is."""
    return datapath.member_name(number)


def match_row(guard: Guard) -> view.MatchRow:
    """One guard."""
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
