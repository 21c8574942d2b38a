"""What may be configured: the table [plugin.mpls], and the options of both kinds of link."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from vdp.api import EndpointParameters, FrameParameters, GreBase

from vdp_mpls.headers import FIRST_LABEL, LAST_LABEL, ControlWord, StackEntry

#: 0 is explicit null, whichever IP follows.
Label = Annotated[int, Field(ge=0, le=LAST_LABEL)]
Ttl = Annotated[int, Field(ge=1, le=255)]
TtlModel = Literal["uniform", "pipe"]


class Settings(BaseModel):
    """The table [plugin.mpls]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    ttl_model: TtlModel = Field(
        "uniform",
        description="uniform: label and IP packet share one TTL; pipe: the IP packet does not see the "
        "path (RFC 3443; Linux net.mpls.ip_ttl_propagate)",
    )
    label_ttl: Ttl = Field(
        255, description="TTL of labels that do not take the packet's (Linux net.mpls.default_ttl)"
    )
    pop: list[Annotated[int, Field(ge=FIRST_LABEL, le=LAST_LABEL)]] = Field(
        [], description="labels of this node that are only taken off: the next one says whose packet it is"
    )
    depth: Annotated[int, Field(ge=1, le=16)] = Field(8, description="labels that one packet may have")


class LabelParameters(EndpointParameters):
    """What both kinds have.  RFC 4023 section 3: no key, no sequence number."""

    label: Label = Field(description="label of received packets; 0: explicit null, and no other label")
    push: list[Label] = Field([], description="labels of sent packets, outermost first; else `label`")
    tc: Annotated[int, Field(ge=0, le=7)] | Literal["inherit"] = Field(
        "inherit",
        description="traffic class of sent labels; inherit: the upper three bits of the packet's DSCP, or "
        "the priority of a frame's VLAN tag",
    )
    label_ttl: Ttl | None = Field(None, description="TTL of labels that do not take the packet's")

    has_fallback: ClassVar[bool] = False

    @property
    def pushed(self) -> tuple[int, ...]:
        """Labels of what is sent, outermost first."""
        return tuple(self.push) or (self.label,)

    @property
    def header_size(self) -> int:
        return GreBase.SIZE + StackEntry.SIZE * len(self.pushed)

    @property
    def input_key(self) -> int:
        """What tells links with the same ends apart."""
        return self.label

    @property
    def sent_key(self) -> int:
        """What tells whose packet it was that an ICMP error quotes: not much more than the first label."""
        return self.pushed[0]

    @model_validator(mode="after")
    def _labels_are_allowed(self) -> Self:
        for key, label in (("label", self.label), *(("push", label) for label in self.push)):
            if 0 < label < FIRST_LABEL:
                raise ValueError(
                    f"{key}: {label} is a reserved label; expected {FIRST_LABEL} to {LAST_LABEL}, or 0 for "
                    "explicit null (of implicit null, 3, nothing is pushed: leave it out)"
                )
        return self


class MplsParameters(LabelParameters):
    """Options of kind mpls."""

    ttl_model: TtlModel | None = Field(None, description="uniform or pipe; else what [plugin.mpls] says")


class MplstapParameters(LabelParameters, FrameParameters):
    """Options of kind mplstap."""

    control_word: bool = Field(False, description="a control word in front of frames, both ways (RFC 4448)")

    @property
    def header_size(self) -> int:
        return super().header_size + (ControlWord.SIZE if self.control_word else 0)

    @model_validator(mode="after")
    def _frames_need_a_label(self) -> Self:
        if 0 in (self.label, self.pushed[-1]):
            raise ValueError("explicit null stands in front of IP: a frame needs a label, 16 or more")
        return self
