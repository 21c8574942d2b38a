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
    FillHash,
    FillId,
    FillLength,
    FillSequence,
    FillState,
    Header,
    Octets,
)
from vdp.hookspecs import API_VERSION, hookimpl
from vdp.links.gre_demux import FlagPolicy, Gre6Demux
from vdp.links.gre_tunnel import GreTunnel, GreTunnelKind
from vdp.links.icmp_input import IcmpError
from vdp.links.ip6_tunnel import Ip6Tunnel, Ip6TunnelKind
from vdp.links.ip_tunnel import IpTunnel, IpTunnelKind
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.parameters import (
    Endpoint6Parameters,
    EndpointParameters,
    FrameParameters,
    Tap6Parameters,
    TapParameters,
    Tunnel6Parameters,
    TunnelParameters,
)
from vdp.links.paths import PathPending
from vdp.links.sequencing import SequenceParameters, Sequencing
from vdp.links.tunnel_table import TunnelTable
from vdp.packet import Packet
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan
from vdp.protocols.gre import GreBase, GreFlag, GreSequence, TunnelInfo
from vdp.protocols.ip import Ecn, Icmp, IPProtocol, IPv4, IPv6, internet_checksum
from vdp.protocols.udp import Udp
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
    "FillHash",
    "FillId",
    "FillLength",
    "FillSequence",
    "FillState",
    "FlagPolicy",
    "FrameParameters",
    "Gre6Demux",
    "GreBase",
    "GreFlag",
    "GreSequence",
    "GreTunnel",
    "GreTunnelKind",
    "HandlerList",
    "Header",
    "HeaderBudget",
    "IPProtocol",
    "IPv4",
    "IPv6",
    "Icmp",
    "IcmpError",
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
    "SequenceParameters",
    "Sequencing",
    "SlotTable",
    "Tap6Parameters",
    "TapParameters",
    "TraceError",
    "Truncated",
    "Tunnel6Parameters",
    "TunnelInfo",
    "TunnelParameters",
    "TunnelTable",
    "Udp",
    "Verdict",
    "Vlan",
    "hookimpl",
    "internet_checksum",
]
