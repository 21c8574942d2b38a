"""Sequence numbers of a link: what may be configured of them, and the engine states behind it.

Linux keeps `i_seqno`, the number expected, where zero also says that none came in yet; and
`o_seqno`, raised before it is sent until 5.18, and after since.  The kernel resets neither
for as long as the device is there, so nothing here does either, unless the state is made
anew because other rules are to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vdp.engine.interface import MAX_SEQUENCE_WINDOW, Engine
from vdp.protocols.gre import GreFlag

KEYS = ("seq_state", "seq_window", "seq_start")

#: Types of keys that a kind with another header may have, too.
Window = Annotated[int, Field(ge=0, le=MAX_SEQUENCE_WINDOW)]
Number = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]


#: How far a packet that waits for the slow path may be overtaken by others of its link.
OVERTAKEN = MAX_SEQUENCE_WINDOW - 1


@dataclass(frozen=True, slots=True)
class Sequencing:
    """What is in force; as it is without a word, Linux before 5.18."""

    checked: bool  # received numbers are
    explicit: bool = False
    window: int = 0
    start: int = 1

    @property
    def rule(self) -> tuple[bool, int] | None:
        """What a receive state is made for: another rule needs another state; None: any will do."""
        return (self.explicit, self.window) if self.checked else None

    def new_input(self, engine: Engine) -> int:
        """A state for `require_sequence`, which no number reached yet."""
        return engine.new_window(self.window or OVERTAKEN) if self.checked else engine.new_state()

    def new_output(self, engine: Engine) -> int:
        """A state for FillSequence."""
        return engine.new_state(self.start)


def sequence_info(parameters: BaseModel) -> dict[str, Any]:
    """What was said of these keys, for fill_info; Linux has no words for them."""
    return {name: getattr(parameters, name) for name in KEYS if name in parameters.model_fields_set}


class SequenceParameters(BaseModel):
    """The keys; kinds mix them in."""

    model_config = ConfigDict(defer_build=True)

    if TYPE_CHECKING:

        @property
        def input_flags(self) -> GreFlag: ...
        @property
        def output_flags(self) -> GreFlag: ...

    seq_state: Literal["linux", "explicit"] = Field(
        "linux",
        description="which received number is taken whatever it is: linux: any while the one expected is 0, "
        "so again after each wrap; explicit: the first only",
    )
    seq_window: Window = Field(
        0,
        description="how late a received number may come: taken once while at most so far behind the newest, "
        "and passed on at once, out of order (nothing is held back); 0: never",
    )
    seq_start: Number = Field(
        1, description="the first number that is sent: 1 as Linux before 5.18, 0 as RFC 2890 and Linux since"
    )

    @model_validator(mode="after")
    def _sequencing_agrees(self) -> Self:
        received = sorted(self.model_fields_set & {"seq_state", "seq_window"})
        if received and not self.input_flags & GreFlag.SEQ:
            raise ValueError(f"{received[0]} without iseq: add iseq = true or seq = true, or leave it out")
        if "seq_start" in self.model_fields_set and not self.output_flags & GreFlag.SEQ:
            raise ValueError("seq_start without oseq: add oseq = true or seq = true, or leave it out")
        return self

    @property
    def sequencing(self) -> Sequencing:
        """How sequence numbers are kept, as the keys say."""
        checked = bool(self.input_flags & GreFlag.SEQ)
        return Sequencing(checked, self.seq_state == "explicit", self.seq_window, self.seq_start)
