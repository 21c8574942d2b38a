"""What the datapath shows of itself: rows as plain JSON data, by TypedDict.

`vdp.datapath` provides a DatapathView; `vdp.control.methods` and `vdp.metrics` ask
it.  These rows are what `--json` prints and what scripts rely on: fields are
added, not renamed.  Counters count since the daemon's start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, NotRequired, Protocol, TypedDict


class PortCounters(TypedDict):
    """struct vdp_port_stats, field by field; frames may be super-packets, segments are wire packets."""

    rx_packets: int
    rx_bytes: int
    rx_segments: int
    injected: int
    cloned: int
    segmented: int
    forwarded: int
    dropped: int
    consumed: int
    held: int
    offered: int
    tx_packets: int
    tx_bytes: int
    tx_segments: int
    tx_dropped: int
    tx_queued: int
    merged: int
    upcalls: int
    hits: int
    misses: int
    refused: int


class PortRow(TypedDict):
    """A port of the engine.  The GRO cell of a link is one too: its name is the link's, type gro-cell.

    Of a bridge with many members, what the copies of flooded packets passed: its name, type
    flood, the sum over all members; `number` and `mtu` say nothing then.
    """

    name: str
    type: str  # tap, tun, raw, gro-cell, memory, flood
    number: int  # the engine's
    packet_type: str  # l2, l3
    device: str | None  # the Linux device under it
    netns: str | None
    mtu: int
    up: bool
    carrier: bool | None  # its device is up, and the other end is there; null: it has none
    error: str | None  # last I/O error, such as "EIO: Input/output error"
    trouble: str | None  # what is wrong with its device, such as "its device tap0 is gone: it is waited for"
    features: list[str]  # vnet_hdr, csum, tso4, tso6, uso, gre_tso
    queues: int
    kernel_drops: int  # frames lost in front of it for want of room
    rx_ring: int  # frames that fit the receive ring of a queue; 0: it receives by system calls
    txqueuelen: int | None  # frames that the kernel keeps for each queue of a TAP or TUN; null: it is none
    counters: PortCounters


class LinkRow(TypedDict):
    """A link in the words of `ip -s -d link show`; what a kind does not have is null."""

    name: str
    kind: str
    number: int  # of its GRO cell
    underlay: str
    packet_type: str
    local: str | None
    remote: str | None
    ikey: int | None
    okey: int | None
    iflags: list[str]  # csum, key, seq
    oflags: list[str]
    ttl: int | str | None  # a number or "inherit"
    tos: int | str | None
    pmtudisc: bool | None
    mtu: int
    up: bool
    counters: dict[str, int]  # by the names of struct rtnl_link_stats64
    err_count: int  # packets that will still tell their sender of a link failure (struct ip_tunnel)
    err_age_s: float | None  # since the last ICMP error that counted; null: none within 30 s
    err_from: str | None  # who sent that error: a router, or the remote itself
    icmp_errors: dict[str, int]  # those believed, by effect: path_mtu, route, failure, ignored
    config: dict[str, Any]  # the [[link]] table that makes it again
    path_mtu: int | None  # of the way to its remote, as the kernel knows it
    info: NotRequired[dict[str, Any]]  # what else the kind's fill_info says


class MatchRow(TypedDict):
    """One guard: bytes at `offset` of the packet as it came in (or of its metadata), under `mask`."""

    field: str  # such as "ip.proto", or "meta"
    offset: int
    mask: str  # hex
    value: str  # hex
    text: str  # such as "ip.proto=47"
    source: str  # file:line that read it


class ActionRow(TypedDict):
    text: str  # such as "push 42 bytes"
    source: str


class FlowRow(TypedDict):
    id: int
    worker: int
    in_port: str
    min_length: int
    max_length: int
    match: list[MatchRow]
    actions: list[ActionRow]
    packets: int
    bytes: int
    age_s: float  # since it was installed
    idle_s: float  # since its last packet
    plugins: list[str]  # whose handlers were asked, or whose links it passes
    packets_per_s: NotRequired[float]  # where rates were asked for
    bits_per_s: NotRequired[float]


class FlowCounts(NamedTuple):
    """Packets and bytes of megaflows, by worker and id, at a time of the engine's clock."""

    at_ns: int
    counts: dict[tuple[int, int], tuple[int, int]]


class VerdictCounts(TypedDict):
    received: int
    reject: int
    drop: int
    error: int  # it raised
    timeout: int  # it was interrupted


class HandlerRow(TypedDict):
    list: str
    priority: int
    name: str
    plugin: str
    verdicts: VerdictCounts
    icmp_errors: dict[str, int]  # what its error handler answered: received, reject, or error: it raised
    seconds: float  # spent in it altogether
    last_error: str  # empty when there was none
    state: Literal["asked", "quarantine", "disabled"]  # disabled: by command
    quarantine_left_s: float | None  # until it is asked again
    quarantines: int  # how often it was put out for failing


class PluginCounterRow(TypedDict):
    """A counter of a plugin's own."""

    name: str  # the metrics' name, to which _packets_total and _bytes_total are put
    text: str
    labels: dict[str, str]
    packets: int
    bytes: int


class CalledRow(TypedDict):
    """A timer of a plugin's, or a function of its that gets upcalls."""

    kind: Literal["timer", "upcall"]
    name: str
    times: int  # that it was called
    failures: int  # that it raised, or took too long
    last_error: str  # empty when there was none
    state: Literal["asked", "quarantine", "disabled"]
    quarantine_left_s: float | None  # until it is called again


class PluginRow(TypedDict):
    name: str
    version: str
    state: Literal["loaded", "failed", "disabled"]
    error: str  # empty unless failed
    distribution: str
    provides: list[str]  # such as "link kind gre", "handler cisco/10 wccp"
    passed_over: list[str]  # its handlers, timers, upcalls that are not asked: in quarantine, or disabled
    calls: list[CalledRow]
    counters: list[PluginCounterRow]


class DropRow(TypedDict):
    port: str
    reason: str
    text: str
    packets: int


class ReasonRow(TypedDict):
    reason: str
    text: str
    plugin: str  # empty: the engine's


class MacRow(TypedDict):
    bridge: str
    mac: str
    member: str
    age_s: float
    held: bool  # it moved too often, and is dropped from elsewhere


class HeldRow(MacRow):
    count: int  # of addresses that are held in the bridge


class BridgeRow(TypedDict):
    bridge: str
    members: list[str]
    ageing_s: int
    macs: int  # that it has learned


class RouteRow(TypedDict):
    """In the order in which they are looked at."""

    destination: str
    via: str
    next_hop: str | None
    metric: int


class RuleRow(TypedDict):
    """In the order in which they are looked at."""

    priority: int
    match: list[str]  # field=value; none: everything
    actions: list[str]


class WorkerRow(TypedDict):
    """struct vdp_worker_stats, field by field, of one worker."""

    worker: int
    iterations: int
    busy_ns: int
    idle_ns: int
    lookups: int
    previous_hits: int
    table_hits: int
    misses: int
    mask_probes: int
    upcalls_lost: int
    actions_suppressed: int
    flows: int
    masks: int
    packets_free: int
    packets_total: int
    calls_refused: int  # system calls that the worker may not do
    different_masks: int  # ports may share them
    queue_lost: int  # packets that found a queue full, but those for the slow path, or no buffer


class FlowTotals(TypedDict):
    limit: int  # flows that all workers' tables may hold
    inserts: int
    refused: int  # found no room
    refusals: dict[str, int]  # the same by why: limit, table, masks, program, other
    bound: int  # flows beyond which new ones are kept by chance; follows what a sweep takes
    bound_steps: dict[str, int]  # hit, kill, scaled, reduced, grew
    evictions: dict[str, int]  # idle, limit, revalidated, flush


class UpcallTotals(TypedDict):
    total: dict[str, int]  # miss, action
    seconds: HistogramRow  # from taking an upcall to its resolution


class HistogramRow(TypedDict):
    """bounds: upper bounds, ascending; counts: one more than bounds, each observation in one."""

    bounds: list[float]
    counts: list[int]
    sum: float


class OverloadStepRow(TypedDict):
    """A step that is taken while there is too much to do."""

    step: str  # watchers, admission, shedding, memory
    taken: bool
    count: int  # how often it was
    cause: str  # what is above its bound
    effect: str  # what vdp does without


class OverloadRow(TypedDict):
    """Parts, 0 to 1: of the busiest worker's time, of packets lost to full queues, of memory."""

    busy: float
    lost: float
    memory: float
    steps: list[OverloadStepRow]


class IcmpTotals(TypedDict):
    """ICMP errors."""

    sent: dict[str, dict[str, int]]  # by family (ipv4, ipv6) and what they say
    suppressed: dict[str, int]  # not sent, by the limit: host, global
    received: dict[str, int]  # about packets that may be ours: received (by a handler), reject, malformed


class ReloadTotals(TypedDict):
    """How the configuration was read anew."""

    results: dict[str, int]  # applied, unchanged, invalid, refused, failed
    was_good: bool  # the last time; true where there was none
    read_s: float  # when the configuration in force was read, seconds since 1970


class NetlinkRow(TypedDict):
    """What is heard of a network namespace; netns is null for the daemon's own."""

    netns: str | None
    events: int
    overruns: int  # events were lost, and all tables read anew
    in_step: NotRequired[bool]  # its tables are the kernel's; false: they are being read
    lost_ago_s: NotRequired[float | None]  # since events were last lost; null: never


class StatusRow(TypedDict):
    version: str
    pid: int
    uptime_s: float
    config: str
    ready: bool  # it is started, and nothing is missing
    missing: NotRequired[list[str]]  # of the configuration, such as "port lan" (Inspector.missing)
    ports: int
    links: int
    bridges: NotRequired[list[str]]  # names; also of those that have learned nothing yet
    plugins: int
    reloads: ReloadTotals
    control: str  # the socket's path
    metrics: str  # the endpoint's URL, empty when there is none
    workers: list[WorkerRow]
    flows: FlowTotals
    upcalls: UpcallTotals
    overload: OverloadRow
    held_macs: NotRequired[list[HeldRow]]  # of each bridge where an address moved too often, one
    troubles: NotRequired[list[str]]  # what is wrong with ports' devices, a sentence each
    icmp: IcmpTotals
    log: dict[str, int]  # lines, by level
    netlink: list[NetlinkRow]
    requests: dict[str, dict[str, int]]  # on the control socket: by method, ok and error


class FindingRow(TypedDict):
    """Something that is wrong now (vdp.status.findings)."""

    severity: Literal["bad", "warning"]  # it does not work; it may soon not
    subject: str  # such as "port lan"
    sentence: str
    command: str  # where to look


class DatapathView(Protocol):
    """What the datapath shows.  Each call is quick, and made on the control thread."""

    def show_ports(self) -> list[PortRow]: ...
    def show_links(self) -> list[LinkRow]: ...
    def flow_counts(self) -> FlowCounts:
        """What megaflows have counted until now."""

    def dump_flows(self, sort: str = "", since: FlowCounts | None = None) -> Iterable[FlowRow]:
        """The megaflows; each row is made when it is taken.

        sort: packets, bytes or rate: most first; age: oldest first; used: last used first.
        since: rows have rates, from those counts on.
        """

    def list_handlers(self) -> list[HandlerRow]: ...
    def list_plugins(self) -> list[PluginRow]: ...
    def show_drops(self) -> list[DropRow]:
        """By port and reason, those that are not zero."""

    def drop_reasons(self) -> list[ReasonRow]:
        """Every reason by code, without "none"."""

    def show_bridge_macs(self) -> list[MacRow]: ...
    def show_bridges(self) -> list[BridgeRow]: ...
    def show_routes(self) -> list[RouteRow]: ...
    def show_rules(self) -> list[RuleRow]: ...
    def status(self) -> StatusRow: ...
