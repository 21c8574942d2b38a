"""What stands where in docs/api, and what is beside each name elsewhere: in the kernel, RFCs, OVS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """One page.  entries: name to what is beside it elsewhere; empty where nothing is."""

    title: str
    intro: str
    entries: dict[str, str]


PAGES = {
    "hooks": Page(
        "Hooks",
        "A plugin is a module that says `vdp_api = 1`, and implements those of these functions that it "
        "needs. pluggy calls them when the dataplane starts and stops, or the plugin is "
        "[loaded, reloaded, unloaded](../operating.md#plugins-while-it-runs); never for a packet. The "
        "examples are whole plugins with their tests. Settings are no hook but a model, `vdp_settings`: "
        "[a section in the configuration](../cookbook.md#a-section-in-the-configuration).",
        {
            "hookimpl": "",
            "API_VERSION": "",
            "vdp_link_kinds": "Linux `rtnl_link_register`",
            "vdp_actions": "ovs-actions(7)",
            "vdp_drop_reasons": "Linux `enum skb_drop_reason`",
            "vdp_register": "Linux `module_init`, `inet_add_protocol`, `gre_cisco_register`",
            "vdp_stages": "Linux `dev_queue_xmit`, `nf_register_net_hook`",
            "vdp_start": "Linux `ndo_open`",
            "vdp_stop": "Linux `module_exit`, `synchronize_net`",
        },
    ),
    "packet": Page(
        "The packet",
        "What a handler, a stage or an action gets. Reads are "
        "[guards](../tracing.md#guards-what-you-looked-at), effects are "
        "[actions](../tracing.md#actions-what-you-did).",
        {
            "Packet": "Linux `struct sk_buff`; OVS `struct flow_wildcards` and datapath actions",
            "Verdict": "Linux `PACKET_RCVD`, `PACKET_REJECT`",
            "PacketType": "Linux `ARPHRD_ETHER`, `ARPHRD_NONE`; OVS `packet_type`",
            "TraceError": "",
            "Truncated": "Linux `pskb_may_pull` that fails",
            "HeaderBudget": "",
        },
    ),
    "headers": Page(
        "Headers",
        "Declared once, as a class with named bit fields; what vdp itself uses of Ethernet, IP, UDP and GRE.",
        {
            "Header": "Linux `skb_header_pointer`",
            "Bits": "",
            "Octets": "",
            "FillLength": "Linux `tot_len`, `payload_len`, as `ip_local_out` writes them",
            "FillId": "Linux `__ip_select_ident`",
            "FillSequence": "Linux `o_seqno` of `struct ip_tunnel`",
            "FillState": "RFC 2637 4.4, acknowledgement numbers",
            "FillChecksum": "Linux `ip_send_check`, `gre_checksum`",
            "FillCopy": "Linux `ip_tunnel_get_ttl`, `ip_tunnel_get_dsfield`",
            "FillHash": "Linux `udp_flow_src_port`; RFC 6335 6",
            "internet_checksum": "RFC 1071; Linux `ip_compute_csum`",
            "Ethernet": "Linux `struct ethhdr`; IEEE 802.3",
            "Vlan": "Linux `struct vlan_hdr`; IEEE 802.1Q",
            "EtherType": "linux/if_ether.h",
            "IPv4": "Linux `struct iphdr`; RFC 791",
            "IPv6": "Linux `struct ipv6hdr`; RFC 8200",
            "IPProtocol": "linux/in.h",
            "Ecn": "RFC 3168; Linux `INET_ECN_decapsulate`",
            "Icmp": "Linux `struct icmphdr`; RFC 792, RFC 4443",
            "Udp": "Linux `struct udphdr`; RFC 768",
            "GreBase": "Linux `struct gre_base_hdr`; RFC 2784, RFC 2890, RFC 1701",
            "GreFlag": "Linux `GRE_CSUM` …",
            "GreSequence": "RFC 2890 2.2",
        },
    ),
    "handlers": Page(
        "Handlers and stages",
        "Where a plugin registers. Which lists there are, and what a handler of each gets, is in "
        "[handler lists](../handler-lists.md).",
        {
            "Registry": "",
            "HandlerList": "Linux `gre_cisco_proto_list`",
            "SlotTable": "Linux `inet_protos`, `gre_proto`",
            "RegistryError": "Linux `-EBUSY`, `-EINVAL`",
            "TunnelInfo": "Linux `struct tnl_ptk_info`, `parse_gre_header`",
            "FlagPolicy": "RFC 2784 2.3, RFC 1701",
            "Gre6Demux": "Linux net/ipv6/ip6_gre.c, `gre_rcv`",
            "IcmpError": "Linux `ipgre_err`, `icmp_hdr`",
            "UdpReceiver": "Linux `struct udp_tunnel_sock_cfg`",
            "Pipeline": "Linux `dev_queue_xmit`",
            "Egress": "Linux `struct net_device`, as who sends sees it",
            "Feature": "Linux `netdev_features_t`",
        },
    ),
    "datapath": Page(
        "The datapath",
        "What hooks get: the wiring, and what a plugin may have of its own. `Counters`, `States` and "
        "`Commands` are not imported but had from it.",
        {
            "Datapath": "OVS `struct dpif`",
            "Counters": "OVS `COVERAGE_DEFINE`",
            "CounterFamily": "Prometheus `Counter`",
            "States": "Linux `i_seqno`, `o_seqno`",
            "Commands": "OVS `unixctl_command_register`",
            "Upcall": "OVS `struct dpif_upcall`",
            "PathPending": "Linux `neigh_event_send`, `arp_queue`",
        },
    ),
    "links": Page(
        "Links",
        "A link is a tunnel device; its kind gives parameters and makes it. `IpTunnelKind` and its like are "
        "what `gre` and `gretap` are made of: a kind with a header of its own derives from them.",
        {
            "Link": "Linux `struct net_device`, `net_device_ops`",
            "LinkKind": "Linux `struct rtnl_link_ops`",
            "LinkError": "Linux `-EEXIST` … of `ip link add`",
            "LinkName": "",
            "PortName": "",
            "Address": "",
            "Address6": "",
            "Mac": "",
            "GreTunnel": "Linux `struct ip_tunnel`; ip_tunnel.c, ip6_tunnel.c",
            "GreTunnelKind": "Linux `ipgre_link_ops`",
            "IpTunnel": "Linux net/ipv4/ip_tunnel.c",
            "IpTunnelKind": "Linux net/ipv4/ip_gre.c",
            "Ip6Tunnel": "Linux net/ipv6/ip6_tunnel.c",
            "Ip6TunnelKind": "Linux net/ipv6/ip6_gre.c",
            "TunnelTable": "Linux `struct ip_tunnel_net`, `ip_tunnel_lookup`",
            "EndpointParameters": "Linux `struct ip_tunnel_parm`",
            "TunnelParameters": "Linux `ipgre_netlink_parms`",
            "TapParameters": "the same, with `IFLA_ADDRESS`",
            "Endpoint6Parameters": "Linux `struct __ip6_tnl_parm`",
            "Tunnel6Parameters": "Linux `ip6gre_netlink_parms`",
            "Tap6Parameters": "the same, with `IFLA_ADDRESS`",
            "FrameParameters": "Linux `IFLA_ADDRESS`",
            "UdpParameters": "Linux `struct ip_tunnel_encap`; RFC 8086",
            "SequenceParameters": "RFC 2890 2.2",
            "Sequencing": "Linux `i_seqno`, `o_seqno`",
        },
    ),
    "testing": Page(
        "The test kit",
        "What a plugin's tests import from `vdp.testing`. How it is used, with fixtures and "
        "`vdp plugin test`, is in "
        "[testing a plugin](../testing-plugins.md).",
        {
            "Dataplane": "OVS `netdev-dummy`",
            "NativeEngine": "",
            "ReferenceEngine": "",
            "StaticPaths": "",
            "StaticGroups": "",
            "builders": "",
            "assert_trace": "OVS `ofproto/trace`",
            "explain": "OVS `ofproto/trace`",
            "Traced": "",
            "check_soundness": "",
            "Sample": "",
            "sample_of": "",
            "check_books": "",
            "check_faults": "",
            "check_golden": "",
            "replay": "",
            "read_pcap": "",
            "write_pcap": "",
            "strategies": "",
            "Conformance": "",
            "Result": "",
            "Fuzzer": "",
        },
    ),
}
