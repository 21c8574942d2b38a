"""The plan of a reload: for two configurations, what is made, changed, made anew and left alone."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from vdp.config import Config, load
from vdp.links.link import LinkError, LinkKind
from vdp.loader import Plugins
from vdp.reload.plan import LIVE_KEYS, Change, Plan, Present, make_plan
from vdp.running import carried

PLUGINS = ("gre", "gretap", "wccp", "keepalive")
BASE = """
[[port]]
name = "lan"
type = "tap"
address = ["10.0.0.1/24"]
mtu = 1400
[[port]]
name = "u"
type = "raw"
interface = "eth0"
[[port]]
name = "tun0"
type = "tun"
[[link]]
name = "gt0"
kind = "gretap"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "u"
key = 7
[[link]]
name = "gt1"
kind = "gretap"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "u"
key = 8
[[link]]
name = "g0"
kind = "gre"
local = "192.0.2.1"
remote = "192.0.2.3"
underlay = "u"
[[bridge]]
name = "br0"
members = ["lan", "gt0"]
[[connect]]
members = ["tun0", "g0"]
[[route]]
destination = "10.9.0.0/16"
via = "g0"
[[rule]]
priority = 10
match = { in_port = "lan", eth_type = "arp" }
actions = ["drop"]
[plugins]
load = ["gre", "gretap", "wccp", "keepalive"]
[plugin.keepalive.link.g0]
respond = true
[engine]
flows = 1000
[metrics]
listen = "127.0.0.1:9479"
"""


class Reader:
    """Configurations from text, with the built-in plugins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vdp.toml"
        self.plugins = Plugins()

    def read(self, text: str) -> Config:
        self.path.write_text(text)

        def kinds(section: Any) -> Any:
            self.plugins = Plugins()
            self.plugins.load(section.load, strict=True)
            return self.plugins.kinds

        return load(self.path, kinds, lambda: self.plugins.settings())


def refuses(kinds: dict[str, LinkKind], config: Config) -> Callable[[str, BaseModel], str]:
    """What the kinds themselves say of a change."""
    links = {section.name: section for section in config.links}

    class Stand:
        """For a link, as far as its kind asks it."""

        def __init__(self, name: str) -> None:
            self.name, self.parameters = name, links[name].parameters

    def refusal(name: str, parameters: BaseModel) -> str:
        try:
            kinds[links[name].kind].check_change(Stand(name), parameters)  # type: ignore[arg-type]
        except LinkError as error:
            return error.sentence
        return ""

    return refusal


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def planned(reader: Reader, before: str, after: str, gone: Set[str] = frozenset()) -> Plan:
    old = reader.read(before)
    kinds = dict(reader.plugins.kinds)
    present = Present(
        ports={section.name: section for section in old.ports},
        links={section.name: section for section in old.links},
        bridges=old.bridges,
        connects=old.connects,
        routes=old.routes,
        rules=old.rules,
        plugins={name: old.plugin.get(name) for name in old.plugins.load},
        tables={table: getattr(old, table) for table in LIVE_KEYS},
        carried={port.name: carried(old, port.name, kinds, {}) for port in old.ports if port.interface},
        gone=gone,
        refusal=refuses(kinds, old),
    )
    new = reader.read(after)
    return make_plan(present, new, reader.plugins.kinds)


def cut(text: str, name: str) -> str:
    """Without the table of that name."""
    tables = text.split("\n[[")
    return "\n[[".join(table for table in tables if f'name = "{name}"' not in table)


CASES: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "nothing": ([], []),
    "a default that is written out": ([("key = 7", "key = 7\nttl = 'inherit'\ngro = true")], []),
    "another order and comments": ([("key = 7", "# seven\nkey    =   7")], []),
    "a key": ([("key = 7", "key = 9")], ["~ link gt0: key 7 -> 9"]),
    "two keys": (
        [("key = 7", "ttl = 64\ntos = 4\nkey = 7")],
        ["~ link gt0: ttl inherit -> 64, tos 0 -> 4"],
    ),
    "gro": ([("key = 7", "key = 7\ngro = false")], ["~ link gt0: gro true -> false"]),
    "an end": (
        [('remote = "192.0.2.3"', 'remote = "192.0.2.4"')],
        ["~ link g0: remote 192.0.2.3 -> 192.0.2.4"],
    ),
    "another class of device": (
        [('remote = "192.0.2.3"\n', "allow_any_remote = true\n")],
        [
            "-/+ link g0: allow_any_remote false -> true, remote 192.0.2.3 -> 0.0.0.0; "
            "a point-to-point device can not become a multipoint one: made anew"
        ],
    ),
    "in UDP": (
        [("key = 8", 'key = 8\nencap = "udp"')],
        [
            "~ port u: carries UDP port 4754, too",
            "-/+ link gt1: encap none -> udp; what it is carried in is for good: its underlay listens "
            "for that from the start on: made anew",
        ],
    ),
    "another kind": (
        [('kind = "gre"', 'kind = "wccp"')],
        ["-/+ link g0: kind gre -> wccp; kind can not be changed: made anew"],
    ),
    "one takes over the key of another": (
        [("key = 8", "key = 9"), ("key = 7", "key = 8")],
        ["~ link gt1: key 8 -> 9", "~ link gt0: key 7 -> 8"],
    ),
    "two exchange their keys": (
        [("key = 8", "key = 0"), ("key = 7", "key = 8"), ("key = 0", "key = 7")],
        [
            "-/+ link gt0: key 7 -> 8; another link has these ends and key before it: made anew",
            "~ link gt1: key 8 -> 7",
        ],
    ),
    "a port's addresses, mtu, state": (
        [('"10.0.0.1/24"', '"10.0.0.2/24"'), ("mtu = 1400", "up = false")],
        ["~ port lan: address [10.0.0.1/24] -> [10.0.0.2/24], mtu 1400 -> none, up true -> false"],
    ),
    "how long the queues of a port are": (
        [("mtu = 1400", "mtu = 1400\ntxqueuelen = 10000")],
        ["~ port lan: txqueuelen none -> 10000"],
    ),
    "queues": (
        [("mtu = 1400", "mtu = 1400\nqueues = 2")],
        ["-/+ port lan: queues 1 -> 2; queues can not be changed: made anew"],
    ),
    "an underlay with its links": (
        [('interface = "eth0"', 'interface = "eth1"')],
        [
            "-/+ port u: interface eth0 -> eth1; interface can not be changed: made anew",
            "-/+ link gt0: as its underlay u: made anew",
            "-/+ link gt1: as its underlay u: made anew",
            "-/+ link g0: as its underlay u: made anew",
        ],
    ),
    "an underlay that is bridged": (
        [('members = ["lan", "gt0"]', 'members = ["lan", "u"]')],
        ["~ port u: takes frames for any MAC address", "~ bridge br0: members +u -gt0"],
    ),
    "a bridge's members and ageing": (
        [('members = ["lan", "gt0"]', 'members = ["gt1", "gt0"]\nageing_s = 5')],
        ["~ bridge br0: members +gt1 -lan, ageing_s 300 -> 5"],
    ),
    "a connect": (
        [('[[connect]]\nmembers = ["tun0", "g0"]\n', "")],
        ["- connect g0 - tun0"],
    ),
    "a connect the other way round": ([('["tun0", "g0"]', '["g0", "tun0"]')], []),
    "a route": ([('via = "g0"', 'via = "tun0"')], ["~ route 10.9.0.0/16: via g0 -> tun0"]),
    "a route's network": (
        [("10.9.0.0/16", "10.8.0.0/16")],
        ["- route 10.9.0.0/16", "+ route 10.8.0.0/16: via g0"],
    ),
    "a rule": (
        [('actions = ["drop"]', 'actions = ["output:gt1", "normal"]')],
        ["~ rule 10 in_port=lan,eth_type=2054: drop -> output:gt1,normal"],
    ),
    "a rule's priority": (
        [("priority = 10", "priority = 11")],
        ["- rule 10 in_port=lan,eth_type=2054", "+ rule 11 in_port=lan,eth_type=2054: drop"],
    ),
    "a plugin less": ([('"wccp", ', "")], ["- plugin wccp"]),
    "a plugin's settings": (
        [("respond = true", "respond = true\nsend = true")],
        None,  # type: ignore[dict-item]
    ),
    "what is in force at once": (
        [
            ("9479", "9480"),
            ("[engine]", "[icmp]\nmsgs_burst = 1\n[log]\nlevel = 'debug'\n[engine]\nflow_idle_s = 3"),
        ],
        [
            "~ setting metrics.listen: 127.0.0.1:9479 -> 127.0.0.1:9480",
            "~ setting icmp.msgs_burst: 50 -> 1",
            "~ setting log.level: info -> debug",
            "~ setting engine.flow_idle_s: 10 -> 3",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edits", "lines"), CASES.values(), ids=CASES)
def test_the_plan_says_what_differs_and_how_it_is_settled(
    reader: Reader, edits: list[tuple[str, str]], lines: list[str] | None
) -> None:
    after = BASE
    for old, new in edits:
        assert after.count(old) >= 1
        after = after.replace(old, new, 1)
    plan = planned(reader, BASE, after)
    *changes, kept = plan.lines()
    if lines is None:  # a table of tables
        (change,) = plan.changes
        assert (change.sign, change.what, change.name) == ("~", "plugin", "keepalive")
        assert "send = true" in change.text
        assert change.text.endswith("; it registers anew")
    else:
        assert changes == lines
    assert kept.startswith("= ")
    assert not plan.faults
    back = planned(reader, after, BASE)
    assert {(c.what, c.name) for c in plan.changes if c.sign == "~"} <= {
        (c.what, c.name) for c in back.changes
    }


def test_what_comes_and_goes(reader: Reader) -> None:
    plan = planned(
        reader,
        cut(BASE, "gt1"),
        cut(BASE, "tun0")
        .replace('members = ["tun0", "g0"]', 'members = ["u", "lan"]')
        .replace('members = ["lan", "gt0"]', 'members = ["gt0"]'),
    )
    assert plan.lines()[:4] == [
        "- port tun0",
        "~ port u: takes frames for any MAC address",
        "+ link gt1: gretap, local 192.0.2.1, remote 192.0.2.2, over u",
        "~ bridge br0: members -lan",
    ]
    everything = planned(reader, "", BASE)
    assert {change.sign for change in everything.changes} == {"+"}
    assert {change.what for change in everything.changes} >= {"plugin", "port", "link", "bridge", "rule"}
    nothing = planned(reader, BASE, "")
    assert {change.sign for change in nothing.changes} == {"-"}
    assert nothing.lines()[-1] == "- rule 10 in_port=lan,eth_type=2054"


def test_a_port_whose_device_is_gone_is_made_anew(reader: Reader) -> None:
    plan = planned(reader, BASE, BASE, gone={"lan"})
    assert [change.line for change in plan.changes] == ["-/+ port lan: its device is gone: made anew"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("flows = 1000", "flows = 2000", "found 2000, expected 1000, with which vdp runs"),
        ("flows = 1000", "flows = 1000\nworkers = 2", "found 2, expected 1, with which vdp runs"),
        ("[metrics]", '[control]\nsocket = "/x"\n[metrics]', 'found "/x", expected "/run/vdp/vdp.sock", '),
        ("[metrics]", "[metrics]", ""),
        ("flows = 1000\n", "", "found 65536, expected 1000, with which vdp runs"),
    ],
    ids=["flows", "workers", "socket", "nothing", "left-out"],
)
def test_what_only_a_restart_can_change_is_a_fault(reader: Reader, old: str, new: str, words: str) -> None:
    faults = planned(reader, BASE, BASE.replace(old, new)).faults
    assert len(faults) == bool(words)
    for fault in faults:
        assert words in fault.text()
        assert "restart vdp" in fault.hint


def test_a_ring_of_many_is_broken_once(reader: Reader) -> None:
    links = [
        f'[[link]]\nname = "r{n}"\nkind = "gretap"\nunderlay = "u"\nremote = "192.0.2.9"\n'
        for n in range(300)
    ]
    before = BASE + "".join(link + f"key = {n}\n" for n, link in enumerate(links))
    after = BASE + "".join(link + f"key = {(n + 1) % 300}\n" for n, link in enumerate(links))
    plan = planned(reader, before, after)
    changes: list[Change] = plan.of("link", "~")
    assert len(plan.of("link", "-/+")) == 1
    assert len(changes) == 299
    held = {change.before.parameters.key for change in changes}
    for change in changes:  # each finds its key free
        assert change.after.parameters.key not in held
        held.discard(change.before.parameters.key)


def test_every_key_of_a_table_is_in_force_at_once_or_needs_a_restart(reader: Reader) -> None:
    config = reader.read(BASE)
    for table, live in LIVE_KEYS.items():
        assert live <= set(type(getattr(config, table)).model_fields)
