"""Kinds of link as plugins would give them, and a loader of TOML text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vdp.config import Config, ConfigError, LinkKindInfo, PluginsSection, Problem, load
from vdp.config.values import Address
from vdp.engine.interface import PacketType


class Parameters(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    local: Address | None = None
    remote: Address | None = None
    key: int | None = None
    csum: bool = False
    tos: int | Literal["inherit"] = 0
    ignore_df: bool = False
    pmtudisc: bool = True
    encap: Literal["none", "udp"] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> Parameters:
        if self.ignore_df and self.pmtudisc:
            raise ValueError("ignore_df contradicts pmtudisc")
        return self


@dataclass(frozen=True)
class Kind:
    parameters: type[BaseModel]
    packet_type: PacketType
    ip_version: int = 4

    def udp_ports(self, parameters: object) -> frozenset[int]:
        assert isinstance(parameters, Parameters)  # as of all kinds: asked about valid ones only
        return frozenset((4754,) if parameters.encap == "udp" else ())


def kinds(plugins: PluginsSection) -> Mapping[str, LinkKindInfo]:
    known = {
        "gre": Kind(Parameters, PacketType.L3),
        "gretap": Kind(Parameters, PacketType.L2),
        "ip6gre": Kind(Parameters, PacketType.L3, 6),
    }
    return {name: kind for name, kind in known.items() if name in plugins.load}


class Peer(BaseModel):
    """A table of a plugin's table of tables."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    weight: int = 0
    share: int = 0


class Settings(BaseModel):
    """The table [plugin.wccp], as that plugin would have it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    detect: Literal["full", "linux"] = "full"
    peer: dict[str, Peer] = Field(default_factory=dict)


def settings() -> Mapping[str, type[BaseModel]]:
    return {"wccp": Settings}


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[str], Config]:
    """Load TOML text with the kinds gre and gretap at hand."""

    def parse(text: str) -> Config:
        path = tmp_path / "vdp.toml"
        path.write_text(text)
        return load(path, kinds, settings)

    return parse


@pytest.fixture
def problems(parse: Callable[[str], Config]) -> Callable[[str], list[Problem]]:
    """Load TOML text that must be refused; its problems."""

    def problems(text: str) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            parse(text)
        return list(caught.value.problems)

    return problems
