"""Everything that a plugin may use; what is not here is not public.

A plugin declares `vdp_api = 1` and implements hooks of vdp.hookspecs with `hookimpl`.
"""

from __future__ import annotations

from vdp.datapath import Datapath
from vdp.engine.interface import PacketType
from vdp.header import (
    Bits,
    FillChecksum,
    FillCopy,
    FillId,
    FillLength,
    FillSequence,
    Header,
    Octets,
)
from vdp.hookspecs import API_VERSION, hookimpl
from vdp.links.gre_demux import FlagPolicy, Gre6Demux
from vdp.links.gre_tunnel import GreTunnel
from vdp.links.ip6_tunnel import Ip6Tunnel, Ip6TunnelKind
from vdp.links.ip_tunnel import IpTunnel, IpTunnelKind
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.parameters import (
    Endpoint6Parameters,
    EndpointParameters,
    Tunnel6Parameters,
    TunnelParameters,
)
from vdp.links.paths import PathPending
from vdp.links.tunnel_table import TunnelTable
from vdp.packet import Packet
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan
from vdp.protocols.gre import GreBase, GreFlag, GreSequence, TunnelInfo
from vdp.protocols.ip import Ecn, Icmp, IPProtocol, IPv4, IPv6, internet_checksum
from vdp.registry import HandlerList, Registry, RegistryError, SlotTable
from vdp.stages.pipeline import Egress, Pipeline
from vdp.trace import HeaderBudget, TraceError, Truncated
from vdp.verdict import Verdict

__all__ = [
    "API_VERSION",
    "Bits",
    "Datapath",
    "Ecn",
    "Egress",
    "Endpoint6Parameters",
    "EndpointParameters",
    "EtherType",
    "Ethernet",
    "FillChecksum",
    "FillCopy",
    "FillId",
    "FillLength",
    "FillSequence",
    "FlagPolicy",
    "Gre6Demux",
    "GreBase",
    "GreFlag",
    "GreSequence",
    "GreTunnel",
    "HandlerList",
    "Header",
    "HeaderBudget",
    "IPProtocol",
    "IPv4",
    "IPv6",
    "Icmp",
    "Ip6Tunnel",
    "Ip6TunnelKind",
    "IpTunnel",
    "IpTunnelKind",
    "Link",
    "LinkError",
    "LinkKind",
    "Octets",
    "Packet",
    "PacketType",
    "PathPending",
    "Pipeline",
    "Registry",
    "RegistryError",
    "SlotTable",
    "TraceError",
    "Truncated",
    "Tunnel6Parameters",
    "TunnelInfo",
    "TunnelParameters",
    "TunnelTable",
    "Verdict",
    "Vlan",
    "hookimpl",
    "internet_checksum",
]
