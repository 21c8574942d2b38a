"""The sections of a configuration, one frozen model each, and the whole of it.

A model says what a key may be on its own; what keys say together, and names that
refer to other sections, is checked in vdp.config.checks.  The descriptions here
are docs/configuration.md (vdp.config.reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from vdp.config.positions import KeyPath, Positions
from vdp.config.rules import Action, RuleMatch
from vdp.config.values import (
    Address,
    Capability,
    DeviceName,
    Interface,
    Kind,
    Listed,
    Listen,
    ListenAddress,
    Mac,
    NamespaceName,
    Network,
    PluginHash,
    PluginName,
    RawProtocol,
    SocketPath,
)
from vdp.engine.interface import Confine, EngineConfig, PacketType

# The kernel's least MTU for IPv4 (RFC 791) and its most for a TAP (drivers/net/tun.c).
MTU_LEAST, MTU_MOST = 68, 65535
MTU_LEAST_IPV6 = 1280  # RFC 8200 section 5
# Pointers that fit what kmalloc gives at most, 4 MiB (ptr_ring.h): drivers/net/tun.c refuses longer rings.
TXQUEUELEN_MOST = 524_288


class Section(BaseModel):
    # Deferred: a validator is built when the first table of its kind is read.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class LinkKindInfo(Protocol):
    """What the configuration asks of a kind of link; plugins give it."""

    @property
    def parameters(self) -> type[BaseModel]: ...
    @property
    def packet_type(self) -> PacketType: ...
    @property
    def ip_version(self) -> int: ...
    def udp_ports(self, parameters: Any) -> frozenset[int]: ...


class PortSection(Section):
    """`[[port]]`: where packets enter and leave."""

    name: DeviceName = Field(description="its name; of `tap` and `tun` also the device's")
    type: Literal["tap", "tun", "raw", "gro-cell", "memory"] = Field(
        description="`tap` (L2), `tun` (L3), `raw` (a raw socket: L3 with `protocol`, L2 with `interface`), "
        "`gro-cell` (coalesces what is output to it), `memory` (in process)"
    )
    address: Annotated[tuple[Interface, ...], Listed] = Field(
        default=(), description="addresses that vdp gives the device. `tap` and `tun` only"
    )
    mtu: int | None = Field(
        default=None, ge=MTU_LEAST, le=MTU_MOST, description="MTU; the device's own, or 1500, when left out"
    )
    netns: NamespaceName | None = Field(
        default=None,
        description="network namespace: a `tap` or `tun` is moved there after its creation, "
        "a `raw` socket is opened there",
    )
    protocol: RawProtocol | None = Field(
        default=None,
        description="`raw`: an IP socket for this protocol; the kernel routes, resolves, reassembles",
    )
    family: Literal["ipv4", "ipv6"] = Field(
        default="ipv4", description="`raw` with `protocol`: the IP version that carries it"
    )
    interface: DeviceName | None = Field(
        default=None, description="`raw`: a packet socket on this device; frames, both directions"
    )
    exclusive: bool = Field(
        default=True,
        description="what its tunnels carry, sent to an address of this host, is kept from the host's "
        "own stack: quicker, but a raw socket there misses it, and so does who is behind its NAT (a "
        "kernel's own GRE device does not: while one is up, nothing is kept). `raw` with `interface`",
    )
    mac: Mac | None = Field(default=None, description="MAC address of the device. `tap` only")
    queues: int = Field(
        default=1,
        ge=1,
        le=16,
        description="queues, spread over the workers. `tap`, `tun`, `raw` with `interface`",
    )
    txqueuelen: int | None = Field(
        default=None,
        ge=1,
        le=TXQUEUELEN_MOST,
        description="packets that the kernel keeps for vdp in each queue while it is busy or restarted "
        "(tx_queue_len); the kernel's own, 1000 of a `tap` and 500 of a `tun`, when left out. `tap` and "
        "`tun` only",
    )
    up: bool = Field(default=True, description="false: the port is made, and stays down")
    offload: bool = Field(
        default=True,
        description="super-packets and unfinished checksums (vnet_hdr). `tap`, `tun`, `raw` with `interface`",
    )
    transmit: Literal["stack", "xdp"] = Field(
        default="stack",
        description="how frames leave: `stack`, as other programs' do, or `xdp` (AF_XDP), which takes a "
        "third less processor time, but passes by qdiscs, tc, nftables and tcpdump, and takes no "
        "super-packets. `raw` with `interface`",
    )
    gro: bool = Field(
        default=True, description="join packets of one flow to super-packets (NETIF_F_GRO). `gro-cell` only"
    )
    packet_type: Literal["l2", "l3"] | None = Field(
        default=None, description="what a packet starts with: `memory` and `gro-cell` choose (default `l2`)"
    )

    @property
    def carries(self) -> PacketType:
        """Frames or bare packets, as type and the keys that choose say."""
        if self.type == "tun" or self.packet_type == "l3":
            return PacketType.L3
        return PacketType.L3 if self.type == "raw" and self.interface is None else PacketType.L2


class NoParameters(Section):
    """Parameters of a link before its kind has validated them."""


class LinkSection(Section):
    """`[[link]]`: a tunnel device. Keys not listed here are the kind's own; see its plugin's page."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    name: DeviceName = Field(description="its name")
    kind: str = Field(description="kind of tunnel, from a plugin: `gre`, `gretap`, …")
    underlay: DeviceName = Field(description="the `raw` (or `memory`) port that carries it")
    gro: bool = Field(
        default=True,
        description="join received packets of one flow to super-packets (NETIF_F_GRO); "
        "false: each goes on alone",
    )
    allow_any_remote: bool = Field(
        default=False,
        description="true: packets are taken from whoever sends some, as `remote` any and `fallback` "
        "mean; such a link is refused without it",
    )
    inner_allowed: Annotated[tuple[Network, ...], Listed] = Field(
        default=(),
        description="sources that packets out of this tunnel may have (of ARP: senders); others are "
        "dropped as inner_source. Left out: any",
    )
    inner_martians: Literal["drop", "pass"] | None = Field(
        default=None,
        description="sources that nobody can have there: loopback, groups, broadcast, none, an address of "
        "this host, IPv6 link-local. `drop`: as inner_martian; `pass`: they are not looked at. Left out: "
        "dropped where vdp routes, as Linux does; passed by bridges and connects",
    )

    _parameters: BaseModel = PrivateAttr(default_factory=NoParameters)

    @property
    def options(self) -> Mapping[str, Any]:
        """The keys that are the kind's, as TOML gave them."""
        return MappingProxyType(self.__pydantic_extra__ or {})

    @property
    def parameters(self) -> BaseModel:
        """The same, validated: an instance of the kind's parameter model."""
        return self._parameters

    def with_parameters(self, parameters: BaseModel) -> LinkSection:
        section = self.model_copy()
        section._parameters = parameters
        return section


class BridgeSection(Section):
    """`[[bridge]]`: MAC learning between ports and L2 links."""

    name: DeviceName = Field(description="its name")
    members: Annotated[tuple[DeviceName, ...], Listed] = Field(
        min_length=1, description="L2 ports and links; each in one bridge or connect at most"
    )
    ageing_s: int = Field(
        default=300, ge=1, le=1_000_000, description="seconds after which a silent MAC address is forgotten"
    )
    mac_moves: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="how often a MAC address may move between members within 10 s. One that moves more is "
        "there twice, or members are joined outside: for 10 s it is held where it was, and dropped from "
        "elsewhere as `mac_moves`. 0: any number of times",
    )


class ConnectSection(Section):
    """`[[connect]]`: everything from one goes to the other."""

    members: Annotated[tuple[DeviceName, ...], Listed] = Field(
        min_length=2, max_length=2, description="two ports or links, both L2 or both L3"
    )


class RouteSection(Section):
    """`[[route]]`: longest-prefix routing between L3 members."""

    destination: Network = Field(description="where packets go")
    via: DeviceName = Field(description="L3 port or link that they leave by")
    next_hop: Address | None = Field(
        default=None,
        description="router on the way: where a multipoint link (`remote` any) sends to; left out: the "
        "packet's own destination. A port or link with one other end does not ask",
    )
    metric: int = Field(
        default=0, ge=0, le=0xFFFFFFFF, description="of two routes to one destination the lower is used"
    )


class RuleSection(Section):
    """`[[rule]]`: priority, match, actions; looked at before bridge, connect and route."""

    priority: int = Field(
        default=32768, ge=0, le=65535, description="higher is looked at first (ovs-ofctl(8))"
    )
    match: RuleMatch = Field(default_factory=RuleMatch, description="fields; none: everything")
    actions: Annotated[tuple[Action, ...], Listed] = Field(
        min_length=1,
        description="`drop`; or some of `output:NAME`, `flood`, `normal`, plugins' `PLUGIN.WORD:ARGUMENT`, "
        "in order",
    )


class PluginsSection(Section):
    """`[plugins]`: which plugins are loaded."""

    load: Annotated[tuple[PluginName, ...], Listed] = Field(
        default=(), description="an allow-list, in order; nothing unlisted is imported"
    )
    strict: bool = Field(default=False, description="true: a plugin that can not be loaded stops the start")
    hashes: Mapping[PluginName, PluginHash] = Field(
        default_factory=dict,
        description='what the files of plugins must be: `gre = "sha256:…"`, as `vdp plugin hash` prints '
        "it; others are not imported. One that is not named here is loaded whatever its files are",
    )
    soft_limit_ms: int = Field(
        default=50,
        ge=0,
        le=10_000,
        description="milliseconds of processor time that a handler may take for one packet, "
        "or ten times as long waiting; then it is interrupted. 0: no limit",
    )


class MetricsSection(Section):
    """`[metrics]`: the Prometheus endpoint."""

    enabled: bool = Field(default=True, description="false: there is none")
    listen: ListenAddress = Field(
        default=Listen("127.0.0.1", 9479), description="where it listens; port 0: one that is free"
    )


class ControlSection(Section):
    """`[control]`: where the other commands reach the daemon."""

    socket: SocketPath = Field(default="/run/vdp/vdp.sock", description="the socket's path; mode 0660")
    group: str | None = Field(
        default=None,
        min_length=1,
        description="group whose members may ask, and change nothing; the socket is made its own. Left "
        "out: only root and the daemon's user are answered",
    )


_ENGINE = EngineConfig()


class EngineSection(Section):
    """`[engine]`: sizes and limits of the fast path."""

    workers: int = Field(default=_ENGINE.workers, ge=1, le=16, description="threads that forward")
    packets: int = Field(
        default=_ENGINE.packets, ge=128, le=1 << 20, description="packets in each worker's pool"
    )
    flows: int = Field(default=_ENGINE.flows, ge=1, le=1 << 22, description="flows in each worker's table")
    masks: int = Field(
        default=_ENGINE.masks,
        ge=1,
        le=1024,
        description="different masks of each worker's flows; a port always gets a quarter of `port_masks`",
    )
    port_masks: int = Field(
        default=_ENGINE.port_masks,
        ge=1,
        le=1024,
        description="masks (subtables) for each in-port: so many probes a lookup takes at most. Packets "
        "of a flow that finds no room stay with the slow path",
    )
    upcall_queue: int = Field(
        default=_ENGINE.upcall_queue,
        ge=1,
        le=65536,
        description="packets of a port that wait for the slow path",
    )
    upcall_rate: int = Field(
        default=_ENGINE.upcall_rate, ge=0, le=10**9, description="new flows a second and port; 0: no bound"
    )
    action_rate: int = Field(
        default=_ENGINE.action_rate,
        ge=0,
        le=10**9,
        description="copies a second and port that programs send to the slow path; 0: no bound",
    )
    control_rate: int = Field(
        default=_ENGINE.control_rate,
        ge=0,
        le=10**9,
        description="of ARP, ICMP, ICMPv6 and GRE keepalives, new ones a second and port that go to the slow "
        "path ahead of all else; 0: none",
    )
    poll_us: int = Field(
        default=_ENGINE.poll_us,
        ge=0,
        le=10000,
        description="microseconds that a worker polls at most before it sleeps; it learns how long is "
        "worth while. 0: it never polls",
    )
    hold_us: int = Field(
        default=_ENGINE.hold_us,
        ge=0,
        le=1000,
        description="microseconds that a GRO cell waits at most for the next segment of a TCP flow. "
        "0: it is flushed after each batch",
    )
    flow_idle_s: int = Field(
        default=10, ge=1, le=86400, description="seconds after which an unused flow is removed"
    )

    def engine_config(self, confine: Confine = Confine.REFUSE) -> EngineConfig:
        return EngineConfig(
            confine=confine,
            workers=self.workers,
            packets=self.packets,
            flows=self.flows,
            masks=self.masks,
            upcall_queue=self.upcall_queue,
            upcall_rate=self.upcall_rate,
            action_rate=self.action_rate,
            poll_us=self.poll_us,
            hold_us=self.hold_us,
            port_masks=self.port_masks,
            control_rate=self.control_rate,
        )


class IcmpSection(Section):
    """`[icmp]`: how many ICMP errors vdp sends; as the kernel's net.ipv4.icmp_*, for ICMPv6 too."""

    ratelimit_ms: int = Field(
        default=1000,
        ge=0,
        le=3_600_000,
        description="milliseconds between errors to one host, behind a burst of six; 0: no bound",
    )
    # Destination unreachable, source quench, time exceeded, parameter problem.
    ratemask: int = Field(
        default=0x1818,
        ge=0,
        le=0xFFFFFFFF,
        description="ICMP types that are limited, a bit each (fragmentation needed never is)",
    )
    msgs_per_sec: int = Field(
        default=1000, ge=0, le=10**9, description="errors a second to all hosts together"
    )
    msgs_burst: int = Field(default=50, ge=1, le=10**9, description="errors to all hosts together at once")
    port_unreachable: bool = Field(
        default=True,
        description="tell the sender of tunnel packets that no link takes, as Linux does; false: who looks "
        "for tunnels hears nothing",
    )


class OverloadSection(Section):
    """`[overload]`: when there is too much to do, and what is done without then."""

    enabled: bool = Field(default=True, description="false: nothing is done without")
    busy_percent: int = Field(
        default=90,
        ge=1,
        le=100,
        description="a worker that has work for more of a second than that: captures and live traces get "
        "one packet of 8",
    )
    very_busy_percent: int = Field(
        default=95,
        ge=1,
        le=100,
        description="and for more of three seconds than that: new flows are taken by `upcall_rate`, idle "
        "ones go after `flow_idle_s`",
    )
    upcall_rate: int = Field(
        default=500, ge=1, le=10**9, description="new flows a second and port then ([engine] upcall_rate)"
    )
    flow_idle_s: int = Field(
        default=1, ge=1, le=86400, description="seconds after which an unused flow is removed then"
    )
    loss_permille: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="of 1,000 packets more than that find a queue full: of a transmit queue that fills up "
        "each port it comes from gets its part, and control traffic (ARP, ICMP, ICMPv6, keepalives) "
        "the last eighth",
    )
    memory_percent: int = Field(
        default=80,
        ge=1,
        le=100,
        description="vdp has more of its memory than that: half as many flows, captures are ended, GRO "
        "cells wait for nothing",
    )
    memory_mb: int = Field(
        default=0,
        ge=0,
        le=1 << 24,
        description="megabytes that vdp should have; 0: what its control group allows, or the machine has",
    )
    recovery_s: int = Field(
        default=10,
        ge=1,
        le=3600,
        description="seconds below a bound after which a step is undone, those taken last first",
    )


class SecuritySection(Section):
    """`[security]`: what the daemon's own threads may do."""

    workers: Literal["refuse", "kill", "off"] = Field(
        default="refuse",
        description="what a system call that forwarding does not need comes to on a worker's thread: "
        "`refuse` (EPERM, and counted) or `kill` (vdp ends at once); `off`: it is done, and the "
        "workers keep their capabilities",
    )
    capabilities: Annotated[tuple[Capability, ...], Listed] = Field(
        default=(),
        description='capabilities to keep for plugins, such as `"CAP_SYS_TIME"`, beside those that the '
        'configuration needs; `"all"`: none is given up',
    )


class LogSection(Section):
    """`[log]`: what the daemon writes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level written"
    )
    format: Literal["text", "json"] = Field(default="text", description="`json`: one object a line")


ConfigVersion = Annotated[Literal[1], Kind("1")]

ARRAY_SECTIONS: Mapping[str, type[Section]] = {
    "port": PortSection,
    "link": LinkSection,
    "bridge": BridgeSection,
    "connect": ConnectSection,
    "route": RouteSection,
    "rule": RuleSection,
}
TABLE_SECTIONS: Mapping[str, type[Section]] = {
    "plugins": PluginsSection,
    "metrics": MetricsSection,
    "control": ControlSection,
    "engine": EngineSection,
    "icmp": IcmpSection,
    "overload": OverloadSection,
    "security": SecuritySection,
    "log": LogSection,
}
TOP_LEVEL = ("config_version", "include", *ARRAY_SECTIONS, *TABLE_SECTIONS, "plugin")


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that is right as far as can be told without touching the system."""

    path: Path
    ports: tuple[PortSection, ...]
    links: tuple[LinkSection, ...]
    bridges: tuple[BridgeSection, ...]
    connects: tuple[ConnectSection, ...]
    routes: tuple[RouteSection, ...]
    rules: tuple[RuleSection, ...]
    plugins: PluginsSection
    plugin: Mapping[str, BaseModel]  # [plugin.NAME], each plugin's own, by its model
    metrics: MetricsSection
    control: ControlSection
    engine: EngineSection
    icmp: IcmpSection
    overload: OverloadSection
    security: SecuritySection
    log: LogSection
    positions: Positions

    def where(self, *path: str | int) -> str:
        """`file:line` of a key, for messages about it: where("port", 1, "mtu")."""
        key: KeyPath = path
        span = self.positions.find(key)
        if span is None:
            return str(self.path)
        return f"{self.positions.file_at(span.key) or self.path}:{self.positions.at(span.key).line}"
