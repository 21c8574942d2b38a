"""A PPTP session as a link: its parameters, what it sends, and when it acknowledges.

What came in is acknowledged with the data that goes out (the engine writes the highest
number received into each packet), and alone, without a payload, when nothing went out.
Which of the two is found out by looking from time to time how far both numbers have come.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vdp.api import (
    Egress,
    EndpointParameters,
    FillLength,
    FillSequence,
    FillState,
    GreBase,
    GreFlag,
    GreSequence,
    IpTunnel,
    Packet,
    PacketType,
    PathPending,
    Sequencing,
)
from vdp_pptp.frames import (
    ALL_STATIONS,
    GRE_PROTO_PPP,
    PPP_PROTOCOLS,
    UNNUMBERED,
    VERSION,
    Acknowledgment,
    Call,
    Ppp,
)

CallId = Annotated[int, Field(ge=0, le=0xFFFF)]


class PptpParameters(EndpointParameters):
    """Options of kind pptp."""

    call_id: CallId = Field(description="call ID of what is received")
    peer_call_id: CallId = Field(description="call ID of what is sent: the peer's")
    # As pptp_xmit: the route's TTL, whatever the packet inside has.
    ttl: Annotated[int, Field(ge=1, le=255)] | Literal["inherit"] = Field(
        64, description="TTL of the outer header; inherit: the inner packet's"
    )
    seq_window: Annotated[int, Field(ge=0, le=1024)] = Field(
        0,
        description="how late a received number may come: taken once while at most so far behind the newest, "
        "and passed on at once, out of order; 0: never",
    )
    seq_start: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = Field(
        1, description="the first number that is sent: 1 as Linux, or 0"
    )

    @model_validator(mode="after")
    def _has_a_peer(self) -> Self:
        if not int(self.remote) or self.remote.is_multicast:
            raise ValueError("a PPTP tunnel has one remote: an address of the peer")
        return self

    @property
    def input_key(self) -> int:
        return self.call_id

    @property
    def sent_key(self) -> int:
        return self.peer_call_id

    @property
    def input_flags(self) -> GreFlag:
        return GreFlag.KEY | GreFlag.SEQ

    @property
    def output_flags(self) -> GreFlag:
        return GreFlag.KEY | GreFlag.SEQ

    @property
    def header_size(self) -> int:
        """With an acknowledgment, which most packets have (pptp_connect, PPTP_HEADER_OVERHEAD)."""
        return GreBase.SIZE + Call.SIZE + GreSequence.SIZE + Acknowledgment.SIZE + Ppp.SIZE

    @property
    def sequencing(self) -> Sequencing:
        # seq_recv has no value that stands for none: the first packet may have any number.
        return Sequencing(checked=True, explicit=True, window=self.seq_window, start=self.seq_start)


class PptpTunnel(IpTunnel):
    """A link of kind pptp."""

    parameters: PptpParameters
    #: A number came in, so that there is one to acknowledge.
    hears = False
    # The states' numbers as last looked at, and what of the received ones is acknowledged for certain.
    _received = _sent = _acknowledged = 0

    def encapsulate(self, packet: Packet) -> Egress | None:
        if packet.protocol not in PPP_PROTOCOLS and not self._is_acknowledgment(packet):
            packet.drop("protocol_unsupported", self.counters.tx_errors)
            return None
        return super().encapsulate(packet)

    def push_header(self, packet: Packet, protocol: int) -> None:
        """pptp_xmit."""
        acknowledged = FillState(self.input_sequence, -1)
        if self._is_acknowledgment(packet):
            Acknowledgment.push(packet, number=acknowledged)
            Call.push(packet, payload_length=0, id=self.parameters.peer_call_id)
            GreBase.push(packet, key=1, ack=1, version=VERSION, protocol=GRE_PROTO_PPP)
            return
        Ppp.push(packet, address=ALL_STATIONS, control=UNNUMBERED, protocol=PPP_PROTOCOLS[protocol])
        if self.hears:
            Acknowledgment.push(packet, number=acknowledged)
        GreSequence.push(packet, sequence=FillSequence(self.output_sequence))
        numbers = GreSequence.SIZE + Acknowledgment.SIZE * self.hears
        Call.push(packet, payload_length=FillLength(Call.SIZE + numbers), id=self.parameters.peer_call_id)
        GreBase.push(packet, key=1, seq=1, ack=self.hears, version=VERSION, protocol=GRE_PROTO_PPP)

    @staticmethod
    def _is_acknowledgment(packet: Packet) -> bool:
        """What `acknowledge` sends: an empty packet of PPP as such."""
        return packet.protocol == GRE_PROTO_PPP and not packet.has(1)

    def acknowledge(self) -> None:
        """Look again: what had come in when last looked is acknowledged, at the latest now."""
        engine = self.datapath.engine
        received, sent = engine.read_state(self.input_sequence), engine.read_state(self.output_sequence)
        if not self.hears:
            self._sent = sent
            if received:  # 0 is none yet, or a wrap, which the next number ends
                self.hears = True
                self.datapath.invalidate(self.tag)  # from here on all data acknowledges
            return
        if sent != self._sent:
            self._sent, self._acknowledged = sent, self._received
        if self._acknowledged != self._received and self.up:
            try:
                self.datapath.send(self.name, b"", PacketType.L3, GRE_PROTO_PPP)
            except PathPending:
                return  # the way is being asked for
            self._acknowledged = received
        self._received = received

    def resequence(self) -> None:
        state = self.input_sequence
        super().resequence()
        if self.input_sequence != state:
            self.hears, self._received, self._acknowledged = False, 0, 0

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return super().fill_info() | {
            "call_id": parameters.call_id, "peer_call_id": parameters.peer_call_id
        }  # fmt: skip
