"""What `vdp trace --json` prints: plain data by TypedDict; fields are added, not renamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from vdp.control.view import ActionRow, MatchRow
from vdp.engine.interface import PacketType
from vdp.engine.program import Action
from vdp.imaginary.journey import End, Journey, Passage
from vdp.imaginary.layout import spans

if TYPE_CHECKING:
    from vdp.trace import Guard

FateWord = Literal["forwarded", "dropped", "held", "consumed"]


class SpanRow(TypedDict):
    """Bytes of a packet that are one header; "payload": what is behind all of them."""

    header: str
    start: int
    end: int


class BytesRow(TypedDict):
    """A packet.  segments above 1: a super-packet, of segments with so much payload."""

    length: int
    hex: str
    headers: list[SpanRow]
    segments: int
    segment_size: int


class OfferRow(TypedDict):
    """A handler, in the order of asking.  verdict: received, reject, drop, error, timeout; undecided:
    it waits for a way; passed_over: it is in quarantine or disabled."""

    list: str
    priority: int
    name: str
    plugin: str
    depth: int  # how many handlers were being asked, each by the one before
    verdict: str
    reason: str  # what it raised, or why it is passed over; else what it looked at last
    source: str  # the line that did


class EndRow(TypedDict):
    """What became of a packet or copy, by kind:

    sent: left by `member`.  entered: went into the GRO cell of link `member` (merged: was joined there
    with another), and goes on in a passage of its own.  dropped: at `member`, for `reason`.  held: waits
    for a way.  unsent: vdp's own, which does not wait for one.  asked: a copy went to the slow path;
    `passage`: of what is sent for it.
    """

    kind: str
    member: str
    reason: str
    text: str
    packet: BytesRow
    passage: int | None


class FlowReference(TypedDict):
    """A megaflow that takes such packets already."""

    worker: int
    id: int
    agrees: bool  # it does what would be decided now


class PassageRow(TypedDict):
    """One classification: received by `member`, or out of its GRO cell, or made by vdp (answer)."""

    number: int
    cause: str  # received, cell, flooded, answer
    member: str
    parent: int | None  # the passage whose packet it is
    packet: BytesRow
    handlers: list[OfferRow]
    match: list[MatchRow]
    actions: list[ActionRow]
    cacheable: bool  # a megaflow comes of it
    flow: FlowReference | None
    waits: str
    log: list[str]  # lines that the daemon would have logged
    ends: list[EndRow]


class TraceAnswer(TypedDict):
    fate: FateWord
    sentence: str
    outputs: list[str]  # ports that it, or a copy of it, leaves by
    reasons: list[str]  # why it, or a copy of it, is dropped
    passages: list[PassageRow]


ActionRows = Callable[[Sequence[Action]], list[ActionRow]]
MatchRowOf = Callable[["Guard"], MatchRow]


def answer(journey: Journey, action_rows: ActionRows, match_row: MatchRowOf) -> TraceAnswer:
    """A journey in the words of `--json`."""
    passages = journey.passages
    ends = [end for passage in passages if passage.cause != "answer" for end in passage.ends]
    outputs = list(dict.fromkeys(end.member for end in ends if end.kind == "sent"))
    reasons = list(dict.fromkeys(end.reason for end in ends if end.kind == "dropped"))
    fate, sentence = _fate(ends, outputs, reasons)
    return {
        "fate": fate,
        "sentence": sentence,
        "outputs": outputs,
        "reasons": reasons,
        "passages": [
            _passage_row(number, passage, action_rows, match_row) for number, passage in enumerate(passages)
        ],
    }


def _fate(ends: Sequence[End], outputs: list[str], reasons: list[str]) -> tuple[FateWord, str]:
    texts = {end.reason: end.text for end in ends if end.kind == "dropped"}
    lost = f"{', '.join(reasons)}: {texts[reasons[0]]}" if reasons else ""
    if outputs:
        more = f"; a copy or part of it is dropped ({lost})" if reasons else ""
        return "forwarded", f"forwarded to {', '.join(outputs)}{more}"
    held = next((end.text for end in ends if end.kind == "held"), "")
    if held:
        return "held", f"held: {held}"
    if reasons and all(texts[reason].startswith("not lost") for reason in reasons):
        return "consumed", f"consumed ({lost})"
    return "dropped", f"dropped ({lost})"


def _passage_row(number: int, passage: Passage, action_rows: ActionRows, match_row: MatchRowOf) -> PassageRow:
    def bytes_row(data: bytes, segments: int, segment_size: int, kind: PacketType, protocol: int) -> BytesRow:
        return {
            "length": len(data),
            "hex": data.hex(),
            "headers": [
                {"header": span.name, "start": span.start, "end": span.end}
                for span in spans(data, kind, protocol)
            ],
            "segments": segments,
            "segment_size": segment_size,
        }

    return {
        "number": number,
        "cause": passage.cause,
        "member": passage.member,
        "parent": passage.parent,
        "packet": bytes_row(
            passage.before, passage.segments, passage.segment_size, passage.packet_type, passage.protocol
        ),
        "handlers": _offers(passage),
        "match": [
            _length_row(guard) if guard.space == "length" else match_row(guard) for guard in passage.guards
        ],
        "actions": action_rows(passage.program),
        "cacheable": passage.cacheable,
        "flow": None
        if passage.flow is None
        else {"worker": passage.flow.worker, "id": passage.flow.id, "agrees": passage.is_agreed},
        "waits": passage.waits,
        "log": passage.said,
        "ends": [
            {
                "kind": end.kind,
                "member": end.member,
                "reason": end.reason,
                "text": end.text,
                "packet": bytes_row(end.data, end.segments, end.segment_size, end.packet_type, end.protocol),
                "passage": end.passage,
            }
            for end in passage.ends
        ],
    }


def _offers(passage: Passage) -> list[OfferRow]:
    rows: list[OfferRow] = []
    for offer in passage.offers:
        looked = [guard for guard in passage.guards[offer.first_guard : offer.last_guard] if guard.label]
        last = looked[-1] if looked else None
        reason = offer.said
        if not reason and offer.outcome == "reject":
            reason = f"looked at {last.label} = {_value(last)} last" if last else "by what is known already"
        rows.append(
            {
                "list": offer.list,
                "priority": offer.priority,
                "name": offer.name,
                "plugin": offer.owner,
                "depth": offer.depth,
                "verdict": offer.outcome,
                "reason": reason,
                "source": last.source if reason and last is not None else offer.source,
            }
        )
    return rows


def _length_row(guard: Guard) -> MatchRow:
    sign = ">=" if guard.value == b"min" else "<="
    return {
        "field": "length",
        "offset": guard.offset,
        "mask": "",
        "value": "",
        "text": f"length{sign}{guard.offset}",
        "source": guard.source,
    }


def _value(guard: Guard) -> str:
    mask, value = int.from_bytes(guard.mask, "big"), int.from_bytes(guard.value, "big")
    return f"{value >> (mask & -mask).bit_length() - 1:#x}"
