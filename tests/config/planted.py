"""Mistakes that people make in configurations, with what they should be told: each in a small file, and
many in one.
"""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """`¦` in the text stands in front of what is wrong: the report has that line and column.

    kind: as `vdp explain` knows it.  message, hint: what these have to hold; hint "": none is owed.
    """

    what: str
    kind: str
    message: str
    hint: str
    text: str


PORTS = """\
[[port]]
name = "tap0"
type = "tap"
address = ["10.10.0.1/24"]
[[port]]
name = "tun0"
type = "tun"
[[port]]
name = "underlay"
type = "raw"
protocol = "gre"
[plugins]
load = ["gre", "gretap", "wccp"]
"""
GRE = '[[link]]\nname = "gre0"\nkind = "gre"\nunderlay = "underlay"\nremote = "192.0.2.2"\n'

MISTAKES = (
    Mistake("a misspelt section", "unknown-key", "unknown key", '"port"',
            '¦[[prot]]\nname = "tap0"\ntype = "tap"\n'),
    Mistake("a misspelt key", "unknown-key", "unknown key", '"address"',
            '[[port]]\nname = "tap0"\ntype = "tap"\n¦adress = ["10.0.0.1/24"]\n'),
    Mistake("a key with a dash", "unknown-key", "unknown key", '"flow_idle_s"',
            "[engine]\n¦flow-idle-s = 10\n"),
    Mistake("the kernel's word for a key", "unknown-key", "unknown key", '"link"',
            PORTS + '[[link]]\nname = "gre0"\nkind = "gre"\n¦dev = "eth0"\nunderlay = "underlay"\n'),
    Mistake("a key of a link misspelt", "unknown-key", "unknown key", '"remote"',
            PORTS + '[[link]]\nname = "gre0"\nkind = "gre"\nunderlay = "underlay"\n¦remot = "192.0.2.2"\n'),
    Mistake("no name", "missing-key", "missing, expected a device name", 'add name = ',
            '¦[[port]]\ntype = "tap"\n'),
    Mistake("no type", "missing-key", "missing, expected one of", 'add type = "tap"',
            '¦[[port]]\nname = "tap0"\n'),
    Mistake("a misspelt type", "wrong-value", 'found "tpa"', '"tap"',
            '[[port]]\nname = "tap0"\ntype = ¦"tpa"\n'),
    Mistake("a type in capitals", "wrong-value", 'found "TAP"', '"tap"',
            '[[port]]\nname = "tap0"\ntype = ¦"TAP"\n'),
    Mistake("a number in quotes", "wrong-type", "expected a whole number", "1400",
            '[[port]]\nname = "tap0"\ntype = "tap"\nmtu = ¦"1400"\n'),
    Mistake("an MTU that is too large", "out-of-range", "at most 65535", "",
            '[[port]]\nname = "tap0"\ntype = "tap"\nmtu = ¦70000\n'),
    Mistake("a queue that holds nothing", "out-of-range", "found 0, expected at least 1", "",
            '[[port]]\nname = "tap0"\ntype = "tap"\ntxqueuelen = ¦0\n'),
    Mistake("a queue that no kernel makes", "out-of-range", "at most 524288", "",
            '[[port]]\nname = "tun0"\ntype = "tun"\ntxqueuelen = ¦1000000\n'),
    Mistake("yes for true", "wrong-type", "expected true or false", "write true",
            '[[port]]\nname = "tap0"\ntype = "tap"\nup = ¦"yes"\n'),
    Mistake("a string for a list", "wrong-type", "expected a list", '["10.0.0.1/24"]',
            '[[port]]\nname = "tap0"\ntype = "tap"\naddress = ¦"10.0.0.1/24"\n'),
    Mistake("an address without prefix length", "wrong-value", "prefix length", '"10.0.0.1/24"',
            '[[port]]\nname = "tap0"\ntype = "tap"\naddress = [¦"10.0.0.1"]\n'),
    Mistake("a name that is too long", "wrong-value", "at most 15 bytes", "'tunnel-to-berli'",
            '[[port]]\nname = ¦"tunnel-to-berlin"\ntype = "tap"\n'),
    Mistake("the path of a namespace", "wrong-value", "not a path", "'blue'",
            '[[port]]\nname = "tap0"\ntype = "tap"\nnetns = ¦"/run/netns/blue"\n'),
    Mistake("one table for many", "wrong-shape", "expected tables [[port]]", "[[port]]",
            '¦[port]\nname = "tap0"\ntype = "tap"\n'),
    Mistake("many tables for one", "wrong-shape", "expected one table [log]", "[log]",
            '¦[[log]]\nlevel = "info"\n'),
    Mistake("a MAC address on a TUN", "misplaced-key", "a port of type tun", "take it away",
            '[[port]]\nname = "tun0"\ntype = "tun"\n¦mac = "02:00:00:00:00:01"\n'),
    Mistake("a queue's length on an interface", "misplaced-key", "a port of type raw", "type tap or tun",
            '[[port]]\nname = "eth0"\ntype = "raw"\ninterface = "eth0"\n¦txqueuelen = 10000\n'),
    Mistake("a raw port of nothing", "misplaced-key", "neither protocol nor interface", 'protocol = "gre"',
            '¦[[port]]\nname = "raw0"\ntype = "raw"\n'),
    Mistake("two ports of one name", "name-taken", "no other port, link or bridge has", "line 2",
            '[[port]]\nname = "tap0"\ntype = "tap"\n[[port]]\nname = ¦"tap0"\ntype = "tap"\n'),
    Mistake("a member that is not there", "unknown-name", "the name of a port or link", '"tap0"',
            PORTS + '[[bridge]]\nname = "br0"\nmembers = [¦"tpa0"]\n'),
    Mistake("a member of two bridges", "member-twice", "one bridge or connect only", "line 16",
            PORTS + '[[bridge]]\nname = "br0"\nmembers = ["tap0"]\n'
            '[[bridge]]\nname = "br1"\nmembers = [¦"tap0"]\n'),
    Mistake("a gre link in a bridge", "wrong-layer", "an L2 port or link", "connect or a route",
            PORTS + GRE + '[[bridge]]\nname = "br0"\nmembers = ["tap0", ¦"gre0"]\n'),
    Mistake("a TAP connected with a gre link", "wrong-layer", "two of one layer", "gretap",
            PORTS + GRE + '[[connect]]\nmembers = ¦["tap0", "gre0"]\n'),
    Mistake("a TAP as underlay", "no-underlay", "a raw (or memory) port", "underlay",
            PORTS + '[[link]]\nname = "gre0"\nkind = "gre"\nunderlay = ¦"tap0"\nremote = "192.0.2.2"\n'),
    Mistake("a kind whose plugin is not listed", "unknown-kind", "a kind of link", "plugins.load",
            PORTS + '[[link]]\nname = "t0"\nkind = ¦"ip6gretap"\nunderlay = "underlay"\n'),
    Mistake("ip6gre over IPv4", "wrong-family", "family ipv6", 'family = "ipv6"',
            PORTS.replace('"wccp"', '"ip6gre"')
            + '[[link]]\nname = "t0"\nkind = "ip6gre"\nunderlay = ¦"underlay"\nremote = "2001:db8::2"\n'),
    Mistake("the same tunnel twice", "same-link", "tell the tunnels apart", "the same kind",
            PORTS + GRE + GRE.replace("gre0", "gre1").replace("[[link]]", "¦[[link]]")),
    Mistake("host bits in a destination", "wrong-value", "without host bits", '"10.20.0.0/16"',
            PORTS + '[[route]]\ndestination = ¦"10.20.0.1/16"\nvia = "tun0"\n'),
    Mistake("the default route in words", "wrong-value", "a network", '"0.0.0.0/0"',
            PORTS + '[[route]]\ndestination = ¦"default"\nvia = "tun0"\n'),
    Mistake("a route by a TAP", "wrong-layer", "an L3 port or link", "bridge",
            PORTS + '[[route]]\ndestination = "0.0.0.0/0"\nvia = ¦"tap0"\n'),
    Mistake("a port number without its protocol", "impossible-rule", "ip_proto", 'ip_proto = "tcp"',
            PORTS + '[[rule]]\nactions = ["drop"]\n[rule.match]\neth_type = "ip"\ntp_dst = ¦80\n'),
    Mistake("a misspelt action", "wrong-value", 'one of "drop"', '"drop"',
            PORTS + '[[rule]]\nactions = [¦"dorp"]\n'),
    Mistake("a plugin that is not installed", "plugin-fails", "not installed", '"gretap"',
            '[plugins]\nload = [¦"gretab"]\n'),
    Mistake("a table of a plugin that is not listed", "plugin-not-loaded", "plugins.load", 'add "wccp"',
            '[plugins]\nload = ["gre"]\n¦[plugin.wccp]\nx = 1\n'),
    Mistake("a host name", "wrong-value", "an address and port", "127.0.0.1:9479",
            '[metrics]\nlisten = ¦"myhost:9479"\n'),
    Mistake("a missing quote", "not-toml", "not TOML", "quote",
            '[[port]]\nname = "tap0¦\ntype = "tap"\n'),
    Mistake("a table that is there twice", "not-toml", "not TOML", "put the keys into the table above",
            '[log]\nlevel = "info"\n[log¦]\nformat = "json"\n'),
    # What else there is of kinds.
    Mistake("keys that contradict", "contradiction", "pmtudisc", "",
            PORTS + GRE + "¦ignore_df = true\npmtudisc = true\n"),
    Mistake("a tunnel to itself", "contradiction", "the link's own local address", "the other host",
            PORTS + '[[link]]\nname = "gre0"\nkind = "gre"\nunderlay = "underlay"\n'
            'local = "192.0.2.1"\nremote = ¦"192.0.2.1"\n'),
    Mistake("an IPv6 address on a kind over IPv4", "wrong-value", "an IPv4 address", 'kind = "ip6gretap"',
            PORTS + '[[link]]\nname = "gt0"\nkind = "gretap"\nunderlay = "underlay"\n'
            'remote = ¦"2001:db8::1"\n'),
    Mistake("an IPv4 address on a kind over IPv6", "wrong-value", "an IPv6 address", 'kind = "gre"',
            PORTS.replace('"wccp"', '"ip6gre"').replace('protocol', 'family = "ipv6"\nprotocol')
            + '[[link]]\nname = "g0"\nkind = "ip6gre"\nunderlay = "underlay"\nremote = ¦"192.0.2.2"\n'),
    Mistake("the other end's name", "wrong-value", "an IPv4 address", "not resolved: write the address",
            PORTS + GRE.replace('"192.0.2.2"', '¦"berlin.example.org"')),
    Mistake("the other end with a prefix length", "wrong-value", "an IPv4 address", 'write "192.0.2.2"',
            PORTS + GRE.replace('"192.0.2.2"', '¦"192.0.2.2/24"')),
    Mistake("a next hop's name", "wrong-value", "an IP address", "not resolved: write the address",
            PORTS + '[[route]]\ndestination = "0.0.0.0/0"\nvia = "tun0"\nnext_hop = ¦"gateway"\n'),
    Mistake("a key in quotes", "wrong-value", "a key", "write 42", PORTS + GRE + 'key = ¦"42"\n'),
    Mistake("a tunnel in UDP over a protocol", "udp-underlay", "interface", 'interface = "eth0"',
            PORTS + GRE + 'encap = ¦"udp"\n'),
    Mistake("a device that the underlay does not use", "other-device", "leaves", "protocol",
            PORTS.replace('protocol = "gre"', 'interface = "eth0"') + GRE + 'link = ¦"eth1"\n'),
    Mistake("one protocol received twice", "received-twice", "no other raw port has", "line 8",
            PORTS + '[[port]]\nname = "raw1"\ntype = "raw"\nprotocol = ¦"gre"\n'),
    Mistake("one address twice", "address-twice", "used once in a namespace", "line 4",
            PORTS + '[[port]]\nname = "tap1"\ntype = "tap"\naddress = [¦"10.10.0.1/24"]\n'),
    Mistake("one route twice", "same-route", "one route to a destination", "metric",
            PORTS + '[[route]]\ndestination = "0.0.0.0/0"\nvia = "tun0"\n'
            '[[route]]\ndestination = ¦"0.0.0.0/0"\nvia = "tun0"\n'),
    Mistake("an action of nobody", "unknown-action", "an action of a loaded plugin", "there is",
            PORTS + '[[rule]]\nactions = [¦"gre.fly:away"]\n'),
    Mistake("a tunnel from anybody", "open-tunnel", "the address of the other end", "allow_any_remote = true",
            PORTS + GRE.replace('remote = "192.0.2.2"', '¦remote = "any"')),
    Mistake("a plugin listed twice", "listed-twice", "each plugin once", "",
            '[plugins]\nload = ["gre", ¦"gre"]\n'),
)  # fmt: skip

# `#!` marks a line with a mistake: the key it is reported under, then a piece of the
# message, then a piece of the hint; alone on a line it is about the line above.
# Nothing else of the file may be reported.
MANY = r"""
config_version = 2                              #! config_version | found 2, expected 1 |
colour = "red"                                  #! colour | unknown key | keys here

[[port]]
name = "tap0"
type = "tap"
address = ["10.10.0.1/24", "10.10.0.2"]
#! port[0].address[1] | with its prefix length | "10.10.0.2/24"
mtu = 70000                                     #! port[0].mtu | found 70000, expected at most 65535 |
addres = ["10.0.0.9/24"]                        #! port[0].addres | unknown key | "address"
netns = "/run/netns/blue"                       #! port[0].netns | not a path | 'blue'

[[port]]
name = "tap0"                                   #! port[1].name | no other port, link or bridge has | line 6
type = "tpa"                                    #! port[1].type | found "tpa" | "tap"

[[port]]                                        #! port[2].name | missing, expected a device name |
type = "tun"
mac = "02:00:00:00:00:01"                       #! port[2].mac | a port of type tun, expected it only |
up = "yes"                                      #! port[2].up | expected true or false | write true
queues = 4.0                                    #! port[2].queues | expected a whole number | write 4

[[port]]
name = "underlay"
type = "raw"
protocol = "gre"
interface = "eth0"                              #! port[3].interface | both protocol and interface | frames

[[port]]                                        #! port[4] | neither protocol nor interface |
name = "raw0"
type = "raw"

[[port]]
name = "raw1"
type = "raw"
protocol = "grr"
#! port[5].protocol | an IP protocol by name or number | "gre"

[[port]]
name = "a-name-that-is-long"                    #! port[6].name | at most 15 bytes | 'a-name-that-is-'
type = "memory"

[[port]]
name = "tap/1"                                  #! port[7].name | without "/" |
type = "tap"
mac = "01:00:5e:00:00:01"                       #! port[7].mac | one station |

[[port]]
name = "six"
type = "tap"
mtu = 1000
#! port[8].mtu | at least 1280 on a port with an IPv6 address |
address = ["2001:db8::1/64"]

[[port]]
name = "mem3"
type = "memory"
packet_type = "l3"

[[link]]
name = "gt1"
kind = "gretpa"
#! link[0].kind | a kind of link that a loaded plugin has | "gretap"
underlay = "raw1"

[[link]]
name = "gt2"
kind = "gretap"
underlay = "underlya"                           #! link[1].underlay | a raw (or memory) port | "underlay"
local = "192.0.2"                               #! link[1].local | found "192.0.2", expected an IP address |
remot = "192.0.2.2"                             #! link[1].remot | unknown key | "remote"

[[link]]
name = "gt3"
kind = "gretap"
underlay = "six"                                #! link[2].underlay | found "six", a tap port | known:
csum = 1
#! link[2].csum | found 1, expected true or false | write true
tos = "inherits"                                #! link[2].tos | a whole number or 'inherit' | "inherit"

[[link]]
name = "g4"
kind = "gre"
underlay = "raw0"
key = 4

[[link]]                                        #! link[4] | tell the tunnels apart | has the same kind
name = "g5"
kind = "gre"
underlay = "raw0"
key = 4

[[link]]
name = "g6"
kind = "gre"
underlay = "raw0"
ignore_df = true                                #! link[5].ignore_df | ignore_df contradicts pmtudisc |

[[bridge]]
name = "br0"
members = ["gt2", "gt33", "g4"]
#! bridge[0].members[1] | a port or link | "gt3"
#! bridge[0].members[2] | an L2 port or link | connect or a route
ageing_s = 0                                    #! bridge[0].ageing_s | found 0, expected at least 1 |

[[bridge]]
name = "br1"
members = ["br0", "gt2"]
#! bridge[1].members[0] | found "br0", a bridge |
#! bridge[1].members[1] | one bridge or connect only | bridge[0]

[[connect]]
members = ["g5"]                                #! connect[0].members | found 1 entry, expected at least 2 |

[[connect]]
members = ["mem3", "six"]                       #! connect[1].members | two of one layer |

[[route]]
destination = "10.20.0.1/16"                    #! route[0].destination | without host bits | "10.20.0.0/16"
via = "g5"

[[route]]
destination = "10.30.0.0/16"
via = "gt2"                                     #! route[1].via | an L3 port or link |
next_hop = "2001:db8::1"                        #! route[1].next_hop | an IPv4 address |

[[route]]
destination = "10.30.0.0/16"                    #! route[2].destination | one route to a destination | line
via = "g4"

[[rule]]
priority = 70000                                #! rule[0].priority | expected at most 65535 |
match = { in_port = "tap9", eth_typ = "arp" }
#! rule[0].match.in_port | a port or link | "tap0"
#! rule[0].match.eth_typ | unknown key | "eth_type"
actions = ["dorp"]                              #! rule[0].actions[0] | one of "drop" | "drop"

[[rule]]
match = { ip_src = "10.0.0.0/8", ip_dst = "::/0", tp_dst = 80 }
#! rule[1].match.ip_dst | an IPv4 network |
#! rule[1].match.tp_dst | beside it | add ip_proto
actions = ["drop", "output:nowhere"]
#! rule[1].actions[0] | drop alone |
#! rule[1].actions[1] | a port or link | known

[[rule]]
match = { in_port = "mem3", eth_src = "02:00:00:00:00:01", eth_type = "ipp"}
#! rule[2].match.eth_type | an EtherType by name or number | "ip"
actions = ["normal"]

[[rule]]
match = { in_port = "mem3", eth_src = "02:00:00:00:00:01" }
#! rule[3].match.eth_src | no Ethernet address |
actions = ["flood", "output:six"]
#! rule[3].actions[0] | only bridges flood |
#! rule[3].actions[1] | an L3 port or link |

[[rule]]
match.gred.key = 5                              #! rule[4].match.gred | a plugin of plugins.load | "gre"
actions = "drop"                                #! rule[4].actions | expected a list | ["drop"]

[plugins]
load = ["gre", "gretap", "gre"]                 #! plugins.load[2] | each plugin once |
strict = "false"                                #! plugins.strict | expected true or false | write false

[plugin.wcpp]                                   #! plugin.wcpp | a plugin of plugins.load |
group = 1

[metrics]
listen = "127.0.0.1"                            #! metrics.listen | an address and port | "127.0.0.1:9479"

[control]
socket = 7                                      #! control.socket | expected a string | in quotes: "7"

[engine]
workers = 0                                     #! engine.workers | at least 1 |
fows = 1                                        #! engine.fows | unknown key | "flows"

[log]
level = "trace"                                 #! log.level | one of "debug" |
"""
