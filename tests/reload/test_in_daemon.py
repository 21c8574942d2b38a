"""Reloads of a whole daemon: what they change, what they leave alone, and what is undone when one fails."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import native_engine
from tests.plane import A, B
from tests.plugins.test_change import META, Source
from tests.plugins.test_in_daemon import Ask, run
from tests.plugins.test_reload_links import KIND
from vdp.control.errors import ControlError
from vdp.daemon import Daemon
from vdp.engine.interface import MemoryPacket
from vdp.testing.builders import gre, ipv4, udp

C = "192.0.2.3"
LINK = """
[[link]]
name = "NAME"
kind = "gre"
underlay = "underlay"
local = "192.0.2.1"
remote = "REMOTE"
"""
BASE = f"""
[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"
[[port]]
name = "lan"
type = "memory"
packet_type = "l3"
[[port]]
name = "other"
type = "memory"
packet_type = "l3"
{LINK.replace("NAME", "gre1").replace("REMOTE", B)}
[[connect]]
members = ["lan", "gre1"]
[plugins]
load = ["gre"]
[metrics]
enabled = false
[control]
socket = "SOCKET"
"""
GRE2 = LINK.replace("NAME", "gre2").replace("REMOTE", C) + '[[connect]]\nmembers = ["other", "gre2"]\n'


class File:
    """The configuration file of a test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vdp.toml"
        self.socket = str(folder / "vdp.sock")
        self.write(BASE)

    def write(self, text: str) -> None:
        self.path.write_text(text.replace("SOCKET", self.socket))


@pytest.fixture
def file(tmp_path: Path) -> File:
    native_engine()
    return File(tmp_path)


def packet(source: str = B, flow: int = 1, port: int = 8) -> bytes:
    inner = ipv4("10.0.0.2", f"10.0.0.{flow}", udp(1, port, b"hello"))
    return ipv4(source, A, gre(inner), protocol=47)


def inject(made: Daemon, data: bytes, port: str = "underlay") -> None:
    made._engine.inject(made.datapath.ports[port].number, MemoryPacket(data, META))


def offered(made: Daemon, port: str) -> int:
    return made._engine.port_stats(made.datapath.ports[port].number).offered


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


async def arrives(made: Daemon, port: str, data: bytes) -> None:
    before = offered(made, port)
    inject(made, data)
    await until(lambda: offered(made, port) > before)


def seen(made: Daemon) -> dict[str, Any]:
    """What there is, by the names of a configuration."""
    datapath, forwarding = made.datapath, made.datapath.forwarding
    return {
        "ports": {name: port.number for name, port in datapath.ports.items()},
        "links": {name: link.configuration() for name, link in datapath.links.items()},
        "connects": dict(forwarding._other_end),
        "bridges": {name: bridge.members for name, bridge in forwarding.bridges.items()},
        "routes": forwarding.routes.routes,
        "plugins": sorted(n for n, info in datapath.plugins.infos.items() if info.state == "loaded"),
        "kinds": sorted(datapath.plugins.kinds),
    }


def test_what_is_untouched_goes_on_with_its_flows_and_counters(file: File) -> None:
    async def story(made: Daemon, ask: Ask) -> None:
        for flow in range(1, 9):
            await arrives(made, "lan", packet(flow=flow))
        slowpath = made.datapath.slowpath
        flows = {key: flow.match for key, flow in slowpath.index.flows.items()}
        assert len(flows) >= 1
        upcalls, before = slowpath.upcalls.total(), seen(made)
        link = made.datapath.links["gre1"]

        file.write(BASE + GRE2)
        answer = await ask("reload", dry_run=True)
        assert answer["result"] == "planned"
        assert [(c["sign"], c["what"], c["name"]) for c in answer["changes"]] == [
            ("+", "link", "gre2"),
            ("+", "connect", "gre2 - other"),
        ]
        assert seen(made) == before
        answer = await ask("reload")
        assert answer["result"] == "applied"
        assert [act["state"] for act in answer["acts"]] == ["done", "done"]
        assert made.datapath.links["gre1"] is link
        assert {key: flow.match for key, flow in slowpath.index.flows.items()} == flows
        for flow in range(1, 9):
            await arrives(made, "lan", packet(flow=flow))
        assert slowpath.upcalls.total() == upcalls
        await arrives(made, "other", packet(C))
        assert (await ask("reload"))["result"] == "unchanged"

        other = made.datapath.links["gre2"]
        file.write(BASE + GRE2.replace(f'remote = "{C}"', f'remote = "{C}"\nkey = 5\nmtu = 1000'))
        assert (await ask("reload"))["result"] == "applied"
        assert made.datapath.links["gre2"] is other
        assert (other.mtu, other.parameters.key) == (1000, 5)  # type: ignore[attr-defined]
        assert made.datapath.links["gre2"].stats()["rx_packets"] == 1

        upcalls = slowpath.upcalls.total()
        file.write(BASE)
        assert (await ask("reload"))["result"] == "applied"
        assert seen(made) == before
        for flow in range(1, 9):
            await arrives(made, "lan", packet(flow=flow))
        assert slowpath.upcalls.total() == upcalls
        assert link.stats()["rx_packets"] == 24
        status = await ask("status")
        assert status["reloads"]["results"] == {
            "applied": 3, "unchanged": 1, "invalid": 0, "refused": 0, "failed": 0,
        }  # fmt: skip

    run(file.path, story)


def test_a_file_that_is_wrong_changes_nothing_and_says_where_and_what(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(made: Daemon, ask: Ask) -> None:
        before = seen(made)
        file.write(BASE.replace('kind = "gre"', 'kind = "grr"').replace("enabled = false", "enabled = 1"))
        answer = await ask("reload")
        assert answer["result"] == "invalid"
        first, second = answer["problems"]
        assert first["text"].startswith(
            f'{file.path}:17:8: error: link[0].kind: found "grr", expected a kind'
        )
        assert (second["key"], second["found"], second["expected"]) == (
            "metrics.enabled",
            "1",
            "true or false",
        )
        assert f"{file.path}:17:8: error: link[0].kind" in caplog.text
        assert "nothing is changed" in caplog.text
        file.write(BASE + GRE2 + "[engine]\nflows = 77\n")
        answer = await ask("reload")
        assert answer["result"] == "refused"
        assert f"{file.path}:" in answer["problems"][0]["text"]
        assert "found 77, expected 65536, with which vdp runs" in caplog.text
        assert seen(made) == before
        status = await ask("status")
        assert not status["reloads"]["was_good"]
        file.write(BASE + GRE2)
        assert (await ask("reload"))["result"] == "applied"
        assert (await ask("status"))["reloads"]["was_good"]
        with pytest.raises(ControlError, match="dry_run"):
            await ask("reload", dry_run="yes")

    run(file.path, story)


@pytest.mark.parametrize("where", ["port", "link"])
def test_a_step_that_fails_has_those_before_it_undone(
    file: File, source: Callable[[str], Source], where: str
) -> None:
    """The new link is refused by its kind, or the new port has no interface, when much has been done."""
    mine = source("mine")
    mine.write(owner="mine", more=KIND + REFUSES_HERE)
    text = BASE.replace('load = ["gre"]', 'load = ["gre", "mine"]').replace(
        f'remote = "{B}"', f'remote = "{B}"\nttl = 9'
    )
    if where == "link":
        # Its place is taken by another kind's: it is removed before the new one fails.
        text += GRE2.replace('kind = "gre"', 'kind = "own"').replace(
            'remote = "192.0.2.3"', 'remote = "192.0.2.66"'
        )
    else:
        text += '[[port]]\nname = "bad"\ntype = "raw"\ninterface = "nosuch0"\n'

    async def story(made: Daemon, ask: Ask) -> None:
        file.write(BASE + GRE2)
        assert (await ask("reload"))["result"] == "applied"
        await arrives(made, "lan", packet())
        before = seen(made)
        file.write(text)
        answer = await ask("reload")
        assert answer["result"] == "failed"
        states = [act["state"] for act in answer["acts"]]
        assert states[-1] == "failed"
        assert states[:-1] == ["undone"] * (len(states) - 1)
        assert len(states) >= 2
        words = (
            "link gre2: not today (Invalid argument)" if where == "link" else "there is no interface nosuch0"
        )
        assert words in answer["acts"][-1]["why"]
        assert seen(made) == before
        await arrives(made, "lan", packet())
        await arrives(made, "other", packet(C))
        # And the next one that is right comes into force.
        file.write(BASE.replace(f'remote = "{B}"', f'remote = "{B}"\nttl = 9'))
        answer = await ask("reload")
        assert answer["result"] == "applied"
        assert made.datapath.links["gre1"].parameters.ttl == 9  # type: ignore[attr-defined]

    run(file.path, story)


REFUSES_HERE = """
make = OwnKind.newlink
refusing = ["192.0.2.66"]
async def newlink(self, datapath, name, underlay, parameters):
    if str(parameters.remote) in refusing:
        raise LinkError(22, name, "not today")
    return await make(self, datapath, name, underlay, parameters)
OwnKind.newlink = newlink
"""


def test_what_can_not_be_undone_is_said_and_the_next_reload_mends_it(
    file: File, source: Callable[[str], Source]
) -> None:
    mine = source("mine")
    mine.write(owner="mine", more=KIND + REFUSES_HERE)
    base = BASE.replace('load = ["gre"]', 'load = ["gre", "mine"]')
    own = GRE2.replace('kind = "gre"', 'kind = "own"')
    file.write(base + own)

    async def story(made: Daemon, ask: Ask) -> None:
        refusing = made.datapath.plugins.infos["mine"].module.refusing  # type: ignore[union-attr]
        refusing.append(C)
        file.write(base + own.replace(C, "192.0.2.66").replace('underlay = "underlay"', 'underlay = "lan"'))
        answer = await ask("reload")
        assert answer["result"] == "failed"
        assert [act["state"] for act in answer["acts"]] == ["not undone", "failed"]
        assert "gre2" not in made.datapath.links
        await arrives(made, "lan", packet())
        refusing.clear()
        file.write(base + own)
        answer = await ask("reload")
        assert [(c["sign"], c["what"], c["name"]) for c in answer["changes"]] == [("+", "link", "gre2")]
        assert answer["result"] == "applied"
        assert "gre2" in made.datapath.links

    run(file.path, story)


def test_plugins_come_go_and_get_other_settings(file: File, source: Callable[[str], Source]) -> None:
    mine = source("mine")
    mine.write(owner="mine")
    with_mine = BASE.replace('load = ["gre"]', 'load = ["gre", "mine"]')

    async def story(made: Daemon, ask: Ask) -> None:
        async def drops() -> int:
            return sum(row["packets"] for row in await ask("drop.show", name="underlay"))

        await arrives(made, "lan", packet(port=7))
        file.write(with_mine)
        assert (await ask("reload", dry_run=True))["result"] == "planned"
        mine.write(owner="mine", text="as it is now")  # the dry run has imported what was there before
        answer = await ask("reload")
        assert [act["act"] for act in answer["acts"]] == ["plugin mine loaded", "plugin mine started"]
        assert mine.calls == ["start"]
        assert made.datapath.drops.text(made.datapath.drops.code("plugin_mine_colour")) == "as it is now"
        inject(made, packet(port=7))
        while await drops() < 1:
            await asyncio.sleep(0.005)
        await arrives(made, "lan", packet(port=9))
        file.write(with_mine + "[plugin.mine]\nport = 9\n")
        answer = await ask("reload")
        assert [change["text"] for change in answer["changes"]] == ["port 7 -> 9; it registers anew"]
        assert mine.calls == ["start", "stop", "start"]
        await arrives(made, "lan", packet(port=7))
        inject(made, packet(port=9))
        while await drops() < 2:
            await asyncio.sleep(0.005)
        file.write(BASE)
        assert (await ask("reload"))["result"] == "applied"
        await arrives(made, "lan", packet(port=9))
        # One that does not load, and then does.
        mine.write(owner="mine", more="raise OSError('not today')")
        file.write(with_mine)
        answer = await ask("reload")
        assert answer["result"] == "invalid"
        assert "can not be imported: OSError: not today" in answer["problems"][0]["message"]
        mine.write(owner="mine", priority=300)  # gre's
        answer = await ask("reload")
        assert answer["result"] == "failed"
        assert "priority 300, wanted by mine_rcv of mine, is taken" in answer["acts"][-1]["why"]
        assert "mine" not in made.datapath.plugin_settings
        mine.write(owner="mine")
        assert (await ask("reload"))["result"] == "applied"

    run(file.path, story)


def test_vdp_goes_on_without_a_plugin_that_failed_at_the_start_until_it_can_be_had(
    file: File, source: Callable[[str], Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = source("mine")
    mine.write(owner="mine", priority=300)  # gre's: it can not register
    file.write(BASE.replace('load = ["gre"]', 'load = ["gre", "mine"]'))

    async def story(made: Daemon, ask: Ask) -> None:
        assert made.datapath.plugins.infos["mine"].state == "failed"
        mine.write(owner="mine", more="raise OSError('not today')")
        answer = await ask("reload")
        assert (answer["result"], answer["changes"]) == ("unchanged", [])
        (note,) = answer["notes"]
        assert note.startswith("plugin mine can not be imported: OSError: not today")
        assert note.endswith("; as before")
        mine.write(owner="mine")
        answer = await ask("reload")
        assert [change["name"] for change in answer["changes"]] == ["mine"]
        assert answer["result"] == "applied"

    run(file.path, story)


def test_sighup_reads_it_anew_and_stops_nothing(file: File) -> None:
    async def story(made: Daemon, ask: Ask) -> None:
        file.write(BASE + GRE2)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "gre2" in made.datapath.links)
        file.write("port = 1")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: made._reload.results["invalid"] == 1)
        assert (await ask("status"))["ready"]

    run(file.path, story)


def test_tables_that_can_be_changed_are_in_force_at_once(file: File) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = f"127.0.0.1:{taken.getsockname()[1]}"

        async def story(made: Daemon, ask: Ask) -> None:
            tables = "[icmp]\nratemask = 1\n[log]\nlevel = 'debug'\n[engine]\nflow_idle_s = 1\n"
            on = BASE.replace("enabled = false", 'listen = "127.0.0.1:0"') + tables
            file.write(on.replace('load = ["gre"]', 'load = ["gre"]\nsoft_limit_ms = 20'))
            assert (await ask("reload"))["result"] == "applied"
            assert made.datapath.icmp.limits.rates.ratemask == 1
            assert made.datapath.limit.seconds == 0.02
            assert logging.getLogger().level == logging.DEBUG
            await arrives(made, "lan", packet())
            await until(lambda: not made.datapath.slowpath.index.flows)  # idle for a second
            assert made._metrics is not None
            address = made._metrics[1].address
            text = await asyncio.to_thread(_get, f"http://{address}/metrics")
            assert 'vdp_config_reloads_total{result="applied"} 1.0' in text
            file.write(
                on.replace("127.0.0.1:0", busy) + "[[route]]\ndestination = '10.0.0.0/8'\nvia = 'lan'\n"
            )
            answer = await ask("reload")
            assert answer["result"] == "failed"
            assert "address already in use" in answer["acts"][-1]["why"]
            assert made._metrics is not None
            assert made.datapath.forwarding.routes.routes == ()
            text = await asyncio.to_thread(_get, f"http://{made._metrics[1].address}/metrics")
            assert "vdp_config_last_reload_successful 0.0" in text
            file.write(BASE)
            assert (await ask("reload"))["result"] == "applied"
            assert made._metrics is None
            assert (await ask("status"))["metrics"] == ""

        level = logging.getLogger().level
        try:
            run(file.path, story)
        finally:
            logging.getLogger().setLevel(level)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_two_changes_at_once_are_refused(file: File) -> None:
    async def story(made: Daemon, ask: Ask) -> None:
        async with made._changing:
            for method, params in (("reload", {}), ("plugin.reload", {"name": "gre"})):
                with pytest.raises(ControlError, match="another change is under way") as caught:
                    await ask(method, **params)
                assert caught.value.code == "busy"
        assert (await ask("reload"))["result"] == "unchanged"

    run(file.path, story)
