"""The method `trace` of the control socket: an imaginary packet through the running dataplane.

`{"in": PORT, "hex": BYTES}`, or `"expression"` in place of `"hex"`; `"segment_size"` makes it a
super-packet, `"ethernet": true` says that the bytes are a frame (of a capture), which a layer-3
port gets without its Ethernet header.  Nothing of the dataplane changes.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from vdp.control.errors import BAD_REQUEST, NOT_FOUND, ControlError
from vdp.engine.interface import PacketType
from vdp.expressions.grammar import ExpressionError, Layer, parse
from vdp.expressions.layers import build
from vdp.flow_words import FlowWords, match_row
from vdp.header import Header, header_kinds
from vdp.imaginary.answer import TraceAnswer, answer
from vdp.imaginary.ends import Ends
from vdp.imaginary.journey import Journey
from vdp.imaginary.layout import VLANS

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.link import Link
    from vdp.ports.port import Port

PARAMETERS = {"in", "hex", "expression", "segment_size", "ethernet"}
ETHERNET = 14


class Request(NamedTuple):
    """What was asked, checked."""

    member: Port | Link
    data: bytes
    segment_size: int


def trace(datapath: Datapath, params: dict[str, Any]) -> TraceAnswer:
    """The method.  ControlError for what can not be understood."""
    request = _asked(datapath, params)
    journey = Journey(datapath)
    journey.receive(*request)
    return answer(journey, FlowWords(datapath).action_rows, match_row)


def _asked(datapath: Datapath, params: dict[str, Any]) -> Request:
    unknown = sorted(params.keys() - PARAMETERS)
    if unknown:
        raise ControlError(BAD_REQUEST, f'no parameter is called "{unknown[0]}"', _parameters())
    name, size = params.get("in"), params.get("segment_size", 0)
    if not isinstance(name, str) or ("hex" in params) == ("expression" in params):
        raise ControlError(
            BAD_REQUEST, '"in", and one of "hex" and "expression", must be given', _parameters()
        )
    if not isinstance(size, int) or not 0 <= size <= 0xFFFF:
        raise ControlError(BAD_REQUEST, '"segment_size" is a number from 0 to 65535')
    member = datapath.ports.get(name) or datapath.links.get(name)
    if member is None:
        known = [*datapath.ports, *datapath.links]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(known) or 'none'}"
        raise ControlError(NOT_FOUND, f'no port or link "{name}"', hint)
    return Request(member, _packet(datapath, member, params), size)


def _parameters() -> str:
    return f"parameters: {', '.join(sorted(PARAMETERS))}"


def _packet(datapath: Datapath, member: Port | Link, params: dict[str, Any]) -> bytes:
    if "hex" in params:
        try:
            data = bytes.fromhex(params["hex"])
        except (TypeError, ValueError):
            raise ControlError(
                BAD_REQUEST, '"hex" is no string of bytes in hex', "two digits a byte"
            ) from None
        return _as_received(member, data, params["ethernet"]) if "ethernet" in params else data
    if not isinstance(params["expression"], str):
        raise ControlError(BAD_REQUEST, '"expression" is no string')
    try:
        layers = parse(params["expression"])
        kinds: list[type[Header]] = list(header_kinds())
        return build(_framed(member, layers), Ends(datapath, member), kinds)
    except ExpressionError as error:
        raise ControlError(BAD_REQUEST, str(error), error.hint) from None


def _framed(member: Port | Link, layers: list[Layer]) -> list[Layer]:
    """With an Ethernet header for who takes frames.  ExpressionError for a frame for who takes none."""
    is_frame = layers[0].name == "eth"
    if member.packet_type is PacketType.L2:
        return layers if is_frame else [Layer("eth", layers[0].column, {}), *layers]
    if is_frame:
        raise ExpressionError(
            f"{member.name} takes packets without Ethernet header",
            layers[0].column,
            "begin with ip or ip6",
        )
    return layers


def _as_received(member: Port | Link, data: bytes, is_frame: bool) -> bytes:
    """A captured packet as the port gets it."""
    if member.packet_type is PacketType.L2:
        if not is_frame:
            raise ControlError(
                BAD_REQUEST, f"{member.name} takes Ethernet frames, and what was captured is bare IP",
                "trace it at a layer-3 port, or capture on an Ethernet device",
            )  # fmt: skip
        return data
    if not is_frame:
        return data
    at = ETHERNET
    while int.from_bytes(data[at - 2 : at], "big") in VLANS:
        at += 4
    if int.from_bytes(data[at - 2 : at], "big") not in (0x0800, 0x86DD):
        kind = data[at - 2 : at].hex()
        raise ControlError(
            BAD_REQUEST, f"{member.name} takes IP packets, and the captured frame has EtherType 0x{kind}"
        )
    return data[at:]
