"""Drop reasons: what causes each, and what to do.  The sentence of what it means is reasons.def's."""

from __future__ import annotations

from collections.abc import Mapping

_LOOK = "`vdp flow dump PORT --explain` shows which handler decides"
_SENDER = "A capture in front of the port shows who sends it; the fault is with the sender or on the way"
_PYTHON = "`vdp handler list` has its last error; `vdp handler disable HANDLER` passes it over"

#: By name: (cause, what to do).
DROPS: Mapping[str, tuple[str, str]] = {
    "none": ("No packet is counted under it.", "Nothing."),
    "parse_truncated": (
        "A damaged or forged packet, or a sender whose length fields are wrong.",
        f"{_SENDER}. Look for a device on the way that cuts frames (MTU, buffer size).",
    ),
    "parse_bad_length": (
        "A length field of IP, UDP or a tunnel that contradicts the bytes that came.",
        f"{_SENDER}.",
    ),
    "ip_header": (
        "A version other than 4 or 6, or an IPv4 header length under 20 bytes.",
        f"{_SENDER}. Is the port of the right layer (`tun` L3, `tap` L2)?",
    ),
    "ip_checksum": (
        "Damage on the way, or a sender that leaves the checksum to a network card that does not compute it.",
        f"{_SENDER}. On the sender: `ethtool -K DEVICE tx off`.",
    ),
    "l4_checksum": (
        "A TCP, UDP or ICMP checksum that is wrong, or a UDP checksum that is missing where one is wanted.",
        "Damage on the way, or a checksum left unfinished by a sender behind a veth: `ethtool -K "
        "DEVICE tx off` "
        "there. Tunnels in UDP without checksums: `encap_csum = false` on the link.",
    ),
    "fragment_policy": (
        "An outer fragment on an `interface` underlay, which does not reassemble: the way to the tunnel's "
        "other end has a smaller MTU than its sender believes.",
        "Lower the MTU of the tunnel at the other end (or let it send with DF), or take a `protocol` "
        "underlay, "
        "where the kernel reassembles.",
    ),
    "ttl_expired": (
        "A routing loop, or a packet that is sent with a TTL of 1, as routing protocols do, through a route.",
        "`traceroute` shows a loop. Protocols of TTL 1 need a `[[connect]]` or a bridge in place of a route.",
    ),
    "mtu_exceeded": (
        "The packet does not fit the port, link or path it should leave by, and may not be fragmented.",
        "The sender was told the MTU that is left; if it does not listen (ICMP filtered), lower its "
        "MTU, or "
        "clamp the MSS. `vdp link show` has the MTU of links, `vdp doctor` compares them.",
    ),
    "no_port": (
        "A rule or flow names a port that was taken away meanwhile.",
        "`vdp port show` lists the ports. It ends by itself when the flow is made anew.",
    ),
    "no_forwarding": (
        "The port or link is in no bridge, connect or route, and no rule takes the packet.",
        "Add it to `members` of a `[[bridge]]` or `[[connect]]`, or add a `[[route]]`; then `vdp reload`.",
    ),
    "no_route": (
        "No `[[route]]` holds the destination, or the kernel has no route to the tunnel's remote, or a "
        "multipoint link got a packet without a next hop.",
        "Add a `[[route]]`, or for a tunnel's remote one in the kernel: `ip route get REMOTE`.",
    ),
    "policy_rule": (
        "A `[[rule]]` with the action `drop` took it: it is meant.",
        "`vdp flow dump PORT --explain` shows the rule by file and line.",
    ),
    "upcall_queue_full": (
        "More new flows arrived at once than wait for Python: a scan, a flood, or a handler that is slow.",
        "`vdp handler list` shows the slow one. `[engine] upcall_queue` is how many may wait.",
    ),
    "upcall_rate": (
        "One port sends new flows faster than `[engine] upcall_rate`, so that others get their share.",
        "Find who opens so many flows: `vdp flow dump PORT`. Raise `[engine] upcall_rate`, if they "
        "are wanted.",
    ),
    "tx_queue_full": (
        "The kernel or the receiver behind the port does not take packets as fast as they come.",
        "Is the program behind a TAP or TUN reading? A longer queue: `ip link set DEVICE txqueuelen 10000`.",
    ),
    "tx_error": (
        "The device is down or gone, an address is missing, or the kernel's filter refuses it.",
        "`vdp port show PORT` has the kernel's error; `vdp doctor` looks for the cause.",
    ),
    "port_down": (
        "`up = false` in the configuration, the device was set down, or it is gone.",
        "`ip link set DEVICE up`, or `up = true` and `vdp reload`.",
    ),
    "link_down": (
        "`up = false` on the link, here or by a plugin (keepalive).",
        "`vdp link show LINK` says its state; `up = true` and `vdp reload`.",
    ),
    "gso_invalid": (
        "A sender marks a super-packet in a way that does not fit its bytes.",
        "Have the kernel cut on the sender's side: `ethtool -K DEVICE tx off`, or `offload = false` "
        "on the port.",
    ),
    "gso_unsupported": (
        "A super-packet of a kind that can neither be cut here nor handed on whole.",
        "`offload = false` on the port it came in by: the kernel then cuts before vdp reads.",
    ),
    "vnet_hdr_invalid": (
        "A sender's unfinished checksum would change bytes that addresses or ports are in.",
        "`offload = false` on the port, or `ethtool -K DEVICE tx off` on the sender's side.",
    ),
    "packet_type": (
        "A forwarding decision joined an L2 and an L3 side, by a rule or a plugin.",
        f"{_LOOK}. Bridges are for L2, routes for L3; see `packet_type` in `vdp port show`.",
    ),
    "loop_guard": (
        "Cells, bridges or tunnels send it round: a loop in the forwarding.",
        "Find the ring: `vdp flow dump` of the port; take one member out of it.",
    ),
    "header_budget": (
        "More headers in one another (tunnels, options, extension headers) than the classifier's "
        "window holds.",
        f"{_LOOK}. Fewer tunnels in one another, or a rule that takes the packet before.",
    ),
    "no_buffer": (
        "All packets of a worker's pool are in use: held, queued or waiting for a slow receiver.",
        "`[engine] packets` is the size of the pool; `vdp status` shows how many are free.",
    ),
    "cell_full": (
        "A link receives faster than its packets go on.",
        "More `[engine] workers`, or find what is slow behind it: `vdp top`.",
    ),
    "handler_error": (
        "Python raised where the packet's fate was decided: a fault in a plugin.",
        f"{_PYTHON}. Report it with `vdp bugreport`.",
    ),
    "handler_timeout": (
        "A handler took longer than `[plugins] soft_limit_ms` and was interrupted.",
        f"{_PYTHON}. Raise `soft_limit_ms` if the time is needed.",
    ),
    "neighbour_failed": (
        "No answer to ARP or ND from the next hop: it is off, or not on that network.",
        "`ip neigh show` and `ip route get REMOTE` in the port's namespace; `ping` the next hop.",
    ),
    "not_for_us": (
        "A frame for another MAC or IP address, or VLAN, seen on an `interface` port; or one for our own, of "
        "a protocol that no plugin registered. The host has its own copy, and answers it if need be.",
        "Harmless, unless tunnels do not work: is `local` of the link an address of this host, and does "
        "`vdp handler list` have its protocol?",
    ),
    "protocol_unsupported": (
        "A `protocol` port, or a TUN, was to carry a protocol that it can not.",
        f"{_LOOK}. An `interface` port carries any.",
    ),
    "shutdown": ("vdp was stopped while the packet was on its way.", "Nothing."),
    "rx_error": (
        "A frame larger than the buffer, or a device that went away while it was read.",
        "Is the MTU of the device changed at runtime? `vdp port show PORT` has the error.",
    ),
    "same_port": (
        "A bridge knows the destination behind the port that the frame came from.",
        "Usual on a shared medium. Much of it: a loop, or a MAC address in two places: `vdp bridge macs`.",
    ),
    "mac_moves": (
        "Members of a bridge are joined outside, so that what is flooded comes back; or two stations have "
        "one MAC address (RFC 7432 15.1).",
        "`vdp bridge macs` says which address is held where, the log between which members it moved: take "
        "one of them out. Bonds that send by any of their devices want `mac_moves = 0`.",
    ),
    "link_local": (
        "Spanning tree, LLDP and others of 01:80:c2:00:00:0x, which a bridge never passes on (IEEE 802.1D).",
        "Nothing, unless they should pass: take a `[[connect]]` for that.",
    ),
    "tunnel_short": ("A damaged packet, or no GRE at all.", f"{_SENDER}."),
    "tunnel_version": (
        "PPTP (version 1) without the plugin `pptp`, or garbage.",
        'Add "pptp" to `[plugins] load`, if it is PPTP.',
    ),
    "tunnel_reserved": (
        "A sender sets bits that RFC 2784 and 2890 keep at zero.",
        f"{_SENDER}. `flags` of the GRE plugins' tables says what is refused: `rfc2784` and `strict` "
        "refuse more than `linux`.",
    ),
    "tunnel_routing": ("A sender of RFC 1701 with source routes; nobody serves them.", f"{_SENDER}."),
    "tunnel_truncated": ("A GRE header with options that the packet has no room for.", f"{_SENDER}."),
    "tunnel_checksum": (
        "Damage on the way, or a sender whose checksums are wrong.",
        f"{_SENDER}. Does a device on the way change the packet (NAT inside tunnels)?",
    ),
    "tunnel_checksum_policy": (
        "The two ends of the tunnel disagree about `csum`.",
        "Set `csum` (`icsum`, `ocsum`) alike at both ends: `vdp link show LINK`, `ip -d link show` there.",
    ),
    "tunnel_sequence": (
        "Packets overtook one another or came twice, or the other end began anew with lower numbers.",
        "`seq_window` on the link for a way that reorders; after a restart of the other end make the "
        "link anew. "
        "`seq` must be alike at both ends.",
    ),
    "tunnel_ecn": (
        "The outer header says congestion (CE), the inner one does not know ECN: RFC 6040 has it dropped.",
        "Congestion on the way. A router that marks packets which are not ECN-capable is at fault.",
    ),
    "tunnel_inner_short": ("The packet inside is cut short.", f"{_SENDER}."),
    "tunnel_loopback": (
        "The network sends our own multicast back.",
        "Usual with some switches; it is dropped so that nothing loops.",
    ),
    "tunnel_no_link": (
        "No link has these addresses and this key: another tunnel, a wrong `key`, `local` or "
        "`remote`, or a stranger.",
        "Compare with the other end: `vdp link show` and `ip -d link show` there (local and "
        "remote are "
        "swapped, ikey is okey). `fallback = true` on a link takes all the rest.",
    ),
    "wccp_short": ("A redirect header that is cut short.", f"{_SENDER}."),
    "ip_option": ("The sender asks that who does not know its option drops it.", f"{_SENDER}."),
    "ip_source": (
        "A forged or looped packet: the kernel refuses such sources in front of its tunnels, too.",
        f"{_SENDER}. Two hosts with one address?",
    ),
    "inner_source": (
        "Whoever is behind the tunnel's other end sends from addresses that are not theirs: spoofed, or a "
        "network that `inner_allowed` of the link does not name.",
        "`vdp trace` or `vdp drop watch --reason inner_source` shows the source; name its network in "
        "`inner_allowed`, if it belongs there.",
    ),
    "inner_martian": (
        "A spoofed source in a packet that is to be routed: an address of this host, loopback, a group. Or "
        "an address of ours is also in use behind the tunnel.",
        'Find the sender: `vdp drop watch --reason inner_martian`. `inner_martians = "pass"` on the link '
        "takes them nevertheless.",
    ),
    "tunnel_loop": (
        "The route to the tunnel's `remote` goes through the tunnel: the default route leads into it.",
        "Give the remote a route of its own past the tunnel: `ip route add REMOTE via GATEWAY`.",
    ),
    "icmp_error": (
        "A router answered about a packet of ours.",
        "`vdp link show LINK` counts them by effect.",
    ),
    "group_queue_full": (
        "A flood of broadcasts on a bridge of many members.",
        "Find who sends: `vdp top`. Split the bridge, or a rule that drops the flood.",
    ),
    "overload_shed": (
        "More is sent to this port than it takes. While queues are full (`vdp status`: overload), each "
        "port gets a part of the transmit queue, and whoever sends more than that loses first.",
        "`vdp top` shows who sends; a faster device, or less to send. docs/operating.md, Under overload.",
    ),
}
