"""Planted mistakes: all of one file are reported in one run, each at its line, most with the cure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.config.conftest import kinds
from vdp.config import Config, ConfigError, LinkKindInfo, PluginsFailed, PluginsSection, Problem, load

Problems = Callable[[str], list[Problem]]

# `#!` marks a line with a mistake: the key it is reported under, then a piece of the
# message, then a piece of the hint; alone on a line it is about the line above.
# Nothing else of the file may be reported.
MISTAKES = r"""
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


def planted(text: str) -> dict[tuple[int, str], tuple[str, str]]:
    """(line, key) of each mistake that the text announces, with pieces of message and hint."""
    found = {}
    place = 0
    for number, line in enumerate(text.splitlines(), 1):
        place = place if line.startswith("#!") else number
        for note in line.split("#!")[1:]:
            key, message, hint = (piece.strip() for piece in note.split("|"))
            found[place, key] = (message, hint)
    return found


def without_plugins_mistakes(text: str) -> str:
    """The mistakes in [plugins] leave the kinds unknown, so they are planted in a file of their own."""
    return text.replace('"gretap", "gre"]', '"gretap"]').replace('strict = "false"', "strict = false")


def agree(text: str, problems: list[Problem], notes: dict[tuple[int, str], tuple[str, str]]) -> None:
    reported = {(problem.line, problem.key): problem for problem in problems}
    assert reported.keys() == notes.keys()
    assert len(reported) == len(problems), "no mistake is reported twice"
    for place, (message, hint) in notes.items():
        assert message in reported[place].message, place
        assert hint in reported[place].hint, place
        assert reported[place].source == text.splitlines()[place[0] - 1]


def test_every_planted_mistake_is_reported_in_one_run_at_its_line(problems: Problems) -> None:
    text = without_plugins_mistakes(MISTAKES)
    notes = {place: note for place, note in planted(text).items() if not place[1].startswith("plugins.")}
    assert len(notes) >= 55
    agree(text, problems(text), notes)


def test_a_wrong_plugins_section_hides_only_what_depends_on_it(problems: Problems) -> None:
    dependent = ("link[", "plugin.", "plugins.load[2]", "rule[4].match.gred", "bridge[0].members[2]")
    found = {(problem.line, problem.key) for problem in problems(MISTAKES)}
    wanted = {place for place in planted(MISTAKES) if not place[1].startswith(dependent)}
    assert any(key == "plugins.strict" for _, key in found)
    assert {place for place in wanted if place[1].startswith(("port", "engine", "log"))} <= found


def test_a_doubled_plugin_is_reported(problems: Problems) -> None:
    (problem,) = problems('[plugins]\nload = ["gre", "wccp", "gre"]\n')
    assert (problem.line, problem.column, problem.key) == (2, 24, "plugins.load[2]")


def test_keys_of_a_plugins_table_of_tables_are_known(problems: Problems) -> None:
    text = '[plugins]\nload = ["wccp"]\n[plugin.wccp.peer.one]\nwieght = 1\n[plugin.wccp.peer.two]\nx = 1\n'
    near, far = problems(text)
    assert (near.line, near.key) == (4, "plugin.wccp.peer.one.wieght")
    assert near.hint == 'did you mean "weight"?'
    assert (far.line, far.hint) == (6, "keys here: weight, share")


def test_a_problem_reads_like_a_compilers(problems: Problems) -> None:
    (problem,) = problems('[[port]]\nname = "tap0"\ntype = "tap"\n\tmtu = 70000 # big\n')
    file = problem.file
    assert problem.render().splitlines() == [
        f"{file}:4:8: error: port[0].mtu: found 70000, expected at most 65535",
        "    4 | \tmtu = 70000 # big",
        "      | \t      ^^^^^",
    ]
    (problem,) = problems('[[port]]\nname = "tap0"\ntype = "tpa"\n')
    assert problem.render().splitlines()[-1] == '      = hint: did you mean "tap"?'
    assert problem.as_json()["expected"] == 'one of "tap", "tun", "raw", "gro-cell", "memory"'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\nb = [1,\n}", 3, "not TOML: invalid value"),
        ("[log]\nlevel = \n", 2, "not TOML: invalid value"),
        ("[log\n", 1, "not TOML: expected ']'"),
        ('x = """\nno end\n', 2, "not TOML"),
        ("[log]\n[log]\n", 2, "not TOML: cannot declare"),
        ("a = 1\r\nb = \r\n", 2, "not TOML: invalid value"),
        ("a = " + "9" * 5000, 1, "not TOML"),
        ("a = " + "[" * 20000, 1, "nested too deeply"),
        ("plugin = 3\n", 1, "expected tables [plugin.NAME]"),
        ("[plugin]\ngre = 3\n", 2, "expected a table"),
        ("[port]\nname = 'x'\n", 1, "expected tables [[port]]"),
        ("[[log]]\n", 1, "expected one table [log]"),
        ("log = 3\n", 1, "expected a table"),
        ("port = [3]\n", 1, "expected a table"),
        ("config_version = true\n", 1, "expected 1"),
    ],
)
def test_what_is_not_the_shape_of_a_configuration_has_a_line(
    problems: Problems, text: str, line: int, message: str
) -> None:
    first = problems(text)[0]
    assert (first.line, message in first.message) == (line, True), first


def test_bytes_that_are_no_text_have_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = 1\nb = '\xc3\xa9\xff'\n")
    with pytest.raises(ConfigError) as caught:
        load(path, lambda plugins: {})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, 7)


def test_a_file_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: error: can not be read: No such file"):
        load(tmp_path / "absent.toml", lambda plugins: {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path, lambda plugins: {})


def test_plugins_that_do_not_load_are_problems_of_their_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(
        '[plugins]\nload = [\n  "gre",\n  "gretpa",\n  "wcpp",\n]\n[log]\nlevel = 1\n'
        '[[link]]\nname = "a"\nkind = "gretap"\nunderlay = "b"\n'
        '[[link]]\nname = "c"\nkind = "gre"\nunderlay = "b"\nkeys = 4\n'
    )

    def failing(plugins: PluginsSection) -> Mapping[str, LinkKindInfo]:
        raise PluginsFailed({"gretpa": "not installed", "wcpp": "broken"}, kinds(plugins))

    with pytest.raises(ConfigError) as caught:
        load(path, failing)
    assert [(p.line, p.key) for p in caught.value.problems] == [
        (4, "plugins.load[1]"),
        (5, "plugins.load[2]"),
        (8, "log.level"),
        (12, "link[0].underlay"),  # and not its kind, which a failed plugin may have
        (16, "link[1].underlay"),
        (17, "link[1].keys"),
    ]
    assert caught.value.problems[0].message == "not installed"


def test_control_bytes_of_a_file_do_not_reach_the_terminal(parse: Callable[[str], Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse('[[port]]\nname = "\\u001b[31m"\ntype = "tap"\n"\\u001b]0;x\\u0007" = 1\n')
    assert not any(ord(c) < 32 and c != "\n" for c in str(caught.value))
