"""The daemon's side of a capture: the method `capture`, which opens a tap and passes on what it shows.

The records go out as the engine wrote them, some hundred at a time; of a single packet no
Python knows here.  A client that does not read fast enough loses packets: while a few
megabytes wait for it the tap is not read, its ring fills up, and the engine counts what it
loses.  Nobody waits: not the workers, not this loop.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vdp.control.errors import BAD_REQUEST, BUSY, REFUSED, ControlError, not_found
from vdp.control.server import Method
from vdp.control.stream import END, RECORDS, TOLD, frame
from vdp.engine.native import NativeEngine
from vdp.engine.tap import READ_BYTES, Tap, TapConfig, TapPoint

if TYPE_CHECKING:
    from vdp.datapath import Datapath

LOOK_S = 0.01  # between two looks into the rings
WAITING_MOST = 4 << 20  # bytes that wait for a client
RING_BYTES = 4 << 20  # of a worker: 0.25 s of 10,000 full packets a second
CLOSE_S = 5.0  # for the last of them
FILTER_MOST = 4096
_NUMBERS = {"count": (0, (1 << 32) - 1), "snaplen": (0, 65792)}
_PARAMETERS = {"at", "follow", "count", "snaplen", "port", "link", "reasons", "filters"}


class Feed:
    """One capture of one client (a Stream)."""

    def __init__(self, datapath: Datapath, tap: Tap) -> None:
        self._datapath = datapath
        self._tap = tap
        self._told: dict[str, Any] = {}

    @property
    def answer(self) -> dict[str, Any]:
        return {"stream": "capture"}

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_to_end = asyncio.ensure_future(reader.read(1))
        try:
            while True:
                try:
                    is_behind = self._pass_on(writer)
                except OSError as error:
                    if error.errno == errno.ECANCELED:
                        break
                    raise
                ended, _ = await asyncio.wait({asked_to_end}, timeout=0 if is_behind else LOOK_S)
                if ended:
                    break
            if not asked_to_end.done():  # memory is short: captures are ended (vdp.overload)
                await self._end(writer)
            elif asked_to_end.result():
                async with asyncio.timeout(CLOSE_S):
                    await self._end(writer)
        finally:
            asked_to_end.cancel()

    def close(self) -> None:
        self._tap.close()

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        """Send what the rings hold: packets go on coming, so not until they are empty."""
        for _ in range(RING_BYTES // READ_BYTES + 1):
            await writer.drain()
            self._pass_on(writer)
        writer.write(frame(END, self._losses()))
        await writer.drain()

    def _pass_on(self, writer: asyncio.StreamWriter) -> bool:
        """Send what the tap has; whether there is more, and room for it."""
        is_behind = False
        for worker in range(self._datapath.engine.workers):
            if writer.transport.is_closing() or writer.transport.get_write_buffer_size() > WAITING_MOST:
                return False
            chunk = self._tap.read(worker)
            if chunk:
                self._tell_names(writer)
                writer.write(frame(RECORDS, chunk))
                is_behind = is_behind or len(chunk) > READ_BYTES // 2
        return is_behind

    def _tell_names(self, writer: asyncio.StreamWriter) -> None:
        """What the numbers in records mean, before the first of them that means something else."""
        names = names_of(self._datapath)
        if names != self._told:
            self._told = names
            writer.write(frame(TOLD, json.dumps(names).encode()))

    def _losses(self) -> bytes:
        losses = [loss._asdict() for loss in self._tap.losses()]
        return json.dumps({"losses": losses}).encode()


def names_of(datapath: Datapath) -> dict[str, Any]:
    """The names of ports, links and drop reasons by the numbers that records have."""
    bridges = datapath.forwarding.bridges.values()
    outlets = {number: bridge.name for bridge in bridges for number in bridge.large_flood.outlets.values()}
    return {
        "ports": {str(number): name for number, name in outlets.items()}
        | {str(port.number): port.name for port in datapath.ports.values()},
        "links": {
            str(link.number): {"name": link.name, "counter": link.counters.tx}
            for link in datapath.links.values()
        },
        "reasons": [[reason.name, reason.text] for reason in datapath.drops],
    }


def capture_table(datapath: Datapath) -> dict[str, Method]:
    """The methods by name, as ControlServer takes them."""

    def capture(params: dict[str, Any]) -> Feed:
        config = _config(datapath, params)
        engine = datapath.engine
        if not isinstance(engine, NativeEngine):
            raise ControlError(REFUSED, "the engine of this dataplane has no taps")
        try:
            return Feed(datapath, Tap(engine, config))
        except OSError as error:
            if error.errno == errno.ECANCELED:
                hint = "vdp status: overload; [overload] memory_percent and memory_mb"
                raise ControlError(REFUSED, "memory is short, so there are no captures now", hint) from None
            if error.errno == errno.ENOSPC:
                hint = "end one of the others: vdp capture, vdp drop watch, vdp trace live"
                raise ControlError(BUSY, "as many captures as are possible are under way", hint) from None
            raise ControlError(BAD_REQUEST, f"the engine refuses the filter: {error.strerror}") from None

    def asked(params: dict[str, Any]) -> dict[str, list[list[str]]]:
        """Who was asked about the packets of flows: list, handler, verdict; of flows that are there."""
        ids = params.get("flows")
        if params.keys() != {"flows"} or not isinstance(ids, list) or not _all(ids, int):
            raise ControlError(BAD_REQUEST, 'the only parameter is "flows", a list of flow ids')
        wanted = set(ids)
        flows = datapath.slowpath.index.flows.values()
        return {str(flow.id): [list(each) for each in flow.asked] for flow in flows if flow.id in wanted}

    return {"capture": capture, "flow.asked": asked}


def _all(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _config(datapath: Datapath, params: Mapping[str, Any]) -> TapConfig:
    unknown = params.keys() - _PARAMETERS
    if unknown:
        raise ControlError(BAD_REQUEST, f"no parameter {', '.join(sorted(unknown))}")
    points = params.get("at", [point.name.lower() for point in TapPoint if point.name])
    names = {point.name.lower(): point for point in TapPoint if point.name}
    if not _all(points, str) or not points or not all(point in names for point in points):
        raise ControlError(BAD_REQUEST, f'"at" is a list of {", ".join(names)}')
    for name, (least, most) in _NUMBERS.items():
        value = params.get(name, 0)
        if type(value) is not int or not least <= value <= most:
            raise ControlError(BAD_REQUEST, f'"{name}" is a number from {least} to {most}')
    follow = params.get("follow", False)
    if not isinstance(follow, bool):
        raise ControlError(BAD_REQUEST, '"follow" is true or false')
    found = TapPoint(0)
    for point in points:
        found |= names[point]
    port, link = params.get("port"), params.get("link")
    if not isinstance(port, str | None) or not isinstance(link, str | None):
        raise ControlError(BAD_REQUEST, '"port" and "link" are names')
    if port is not None and port not in datapath.ports:
        raise not_found("port", port, datapath.ports)
    if link is not None and link not in datapath.links:
        raise not_found("link", link, datapath.links)
    at_link = datapath.links[link] if link is not None else None
    return TapConfig(
        found,
        follow,
        params.get("count", 0),
        params.get("snaplen", 0) or 65792,
        RING_BYTES,
        port=datapath.ports[port].number if port is not None else 0,
        link=at_link.number if at_link else 0,
        link_counter=at_link.counters.tx if at_link else 0,
        reasons=_reasons(datapath, params.get("reasons", [])),
        filters=_filters(params.get("filters", [[], []])),
    )


def _reasons(datapath: Datapath, wanted: object) -> tuple[int, ...]:
    codes = {reason.name: reason.code for reason in datapath.drops}
    if not isinstance(wanted, list) or not _all(wanted, str):
        raise ControlError(BAD_REQUEST, '"reasons" is a list of drop reasons')
    for name in wanted:
        if name not in codes:
            raise not_found("drop reason", name, codes)
    return tuple(codes[name] for name in wanted)


def _filters(wanted: object) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int, int]]]:
    """Classic BPF for layer-2 and for layer-3 packets; the engine checks what they do."""
    bounds = (1 << 16, 1 << 8, 1 << 8, 1 << 32)
    is_right = (
        isinstance(wanted, list)
        and len(wanted) == 2
        and all(isinstance(program, list) and len(program) <= FILTER_MOST for program in wanted)
        and all(
            _all(one, int)
            and len(one) == 4
            and all(0 <= value < bound for value, bound in zip(one, bounds, strict=True))
            for program in wanted
            for one in program
        )
    )
    if not is_right or not isinstance(wanted, list):
        raise ControlError(BAD_REQUEST, '"filters" are two lists of [code, jt, jf, k]')
    first, second = ([tuple(one) for one in program] for program in wanted)
    return first, second
