"""What `vdp link show --toml` prints is a configuration that makes an equal link (fill_info)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tests.plane import L3, Plane
from vdp.cli.pages import toml_page
from vdp.config import Config, load
from vdp.inspector import Inspector
from vdp.links.paths import Device
from vdp.testing.dataplane import Dataplane
from vdp.testing.paths import StaticPaths
from vdp.testing.reference import ReferenceEngine

PLUGINS = ("gre", "gretap", "ip6gre", "erspan", "nvgre", "pptp", "wccp")
REST = """
[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"

[plugins]
load = ["gre", "gretap", "ip6gre", "erspan", "nvgre", "pptp", "wccp"]
"""

addresses4 = st.integers(0x0A000001, 0x0A0000FF).map(IPv4Address).map(str)
addresses6 = st.integers(1, 255).map(lambda n: str(IPv6Address(0x20010DB8 << 96 | n)))
# Never the local one, which a configuration is refused for.
remotes4 = st.integers(0x0A000101, 0x0A0001FF).map(IPv4Address).map(str)
remotes6 = st.integers(257, 511).map(lambda n: str(IPv6Address(0x20010DB8 << 96 | n)))
keys = st.one_of(st.integers(0, 0xFFFFFFFF), st.just("0.0.1.2"))
flags = st.booleans()
octets = st.one_of(st.integers(0, 255), st.just("inherit"))
macs = st.binary(min_size=6, max_size=6).map(lambda b: (bytes([b[0] & 0xFE]) + b[1:]).hex(":"))


def options(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of them, and any left out."""
    return st.fixed_dictionaries({}, optional=strategies)


outer = {"tos": octets, "ttl": octets, "mtu": st.integers(60, 66000), "up": flags,
         "link": st.sampled_from(["eth0", "eth1"])}  # fmt: skip
outer4 = {**outer, "local": addresses4, "remote": remotes4 | st.just("239.1.2.3"), "pmtudisc": flags,
          "ignore_df": flags}  # fmt: skip
outer6 = {**outer, "local": addresses6, "remote": remotes6,
          "flowlabel": st.one_of(st.integers(0, 0xFFFFF), st.sampled_from(["auto", "inherit"])),
          "encaplimit": st.one_of(st.integers(0, 255), st.just("none"))}  # fmt: skip
header = {"key": keys, "ikey": keys, "okey": keys, "csum": flags, "icsum": flags, "ocsum": flags,
          "seq": flags, "iseq": flags, "oseq": flags, "seq_state": st.sampled_from(["linux", "explicit"]),
          "seq_window": st.sampled_from([0, 64]), "seq_start": st.sampled_from([0, 1, 7])}  # fmt: skip
frames = {"mac": macs}
fallback = st.fixed_dictionaries(
    {"fallback": st.just(True)}, optional={"mtu": st.integers(68, 9000), "up": flags}
)
erspan = {"key": st.integers(0, 1023), "seq": st.just(True), "erspan_ver": st.sampled_from([1, 2]),
          "erspan": st.integers(0, 99), "erspan_dir": st.sampled_from(["ingress", "egress"])}  # fmt: skip
kinds = {
    "gre": options(**outer4, **header) | fallback,
    "gretap": options(**outer4, **header, **frames) | fallback,
    "ip6gre": options(**outer6, **header) | fallback,
    "ip6gretap": options(**outer6, **header, **frames) | fallback,
    "erspan": options(**outer4, **erspan, **frames),
    "nvgre": options(
        vsid=st.integers(4096, 9999), entropy=flags, flow_id=st.integers(0, 255), **outer4, **frames
    ),
    "pptp": options(call_id=st.integers(0, 9), peer_call_id=st.integers(0, 9), **outer4),
    "wccp": options(version=st.sampled_from([1, 2]), role=st.sampled_from(["cache", "router"]), **outer4),
}


class World:
    """A dataplane with one underlay, as it shows itself; one link at a time."""

    def __init__(self) -> None:
        paths = StaticPaths(devices={"eth0": Device(2, 1500, 14), "eth1": Device(3, 1400, 14)})
        self.plane = Dataplane(ReferenceEngine(), PLUGINS, paths)
        self.plane.port("underlay", L3)
        self.inspector = Inspector(self.plane.datapath, Mock(spec=Config))

    def add(self, kind: str, parameters: BaseModel) -> tuple[Mapping[str, Any], str]:
        """What is shown of such a link, which goes again."""
        datapath, run = self.plane.datapath, self.plane._runner.run
        run(datapath.add_link("link1", kind, "underlay", parameters))
        rows = self.inspector.show_links()
        stream = io.StringIO()
        toml_page(rows, stream, True)
        run(datapath.remove_link("link1", is_end=True))
        return rows[0], stream.getvalue()


@pytest.fixture(scope="module")
def worlds() -> Iterator[tuple[World, World]]:
    made = World(), World()
    yield made
    for world in made:
        world.plane.close()


@pytest.mark.conformance("B25")
@pytest.mark.parametrize("kind", kinds)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_link_is_made_again_from_what_is_shown_of_it(
    worlds: tuple[World, World], tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    world, other = worlds
    plugins = world.plane.datapath.plugins
    try:
        parameters = plugins.kinds[kind].parameters.model_validate(data.draw(kinds[kind]))
    except ValidationError:
        return  # these make no link
    row, text = world.add(kind, parameters)
    path = tmp_path / "vdp.toml"
    path.write_text(text + REST)
    (section,) = load(path, lambda section: plugins.kinds, plugins.settings).links
    assert (section.name, section.kind, section.underlay) == ("link1", kind, "underlay")
    assert other.add(kind, section.parameters) == (row, text)


@pytest.mark.conformance("B25")
def test_only_what_was_said_is_written(plane: Plane) -> None:
    plane.port("underlay", L3)
    plane.link(
        "gre1", "gre", local="192.0.2.1", remote="192.0.2.2", key="0.0.0.42", seq=True, ttl=9, link=None
    )
    stream = io.StringIO()
    toml_page(Inspector(plane.datapath, Mock(spec=Config)).show_links(), stream, True)
    assert stream.getvalue().splitlines()[:4] == [
        "[[link]]", 'name = "gre1"', 'kind = "gre"', 'underlay = "underlay"',
    ]  # fmt: skip
    assert set(stream.getvalue().splitlines()[4:]) == {
        'local = "192.0.2.1"', 'remote = "192.0.2.2"', "key = 42", "seq = true", "ttl = 9",
    }  # fmt: skip


@pytest.mark.conformance("B25")
def test_a_changed_mtu_and_the_mac_that_was_found_are_part_of_it(plane: Plane) -> None:
    plane.port("underlay", L3)
    link = plane.link("t1", "gretap", local="192.0.2.1", remote="192.0.2.2")
    plane.datapath.set_link_mtu("t1", 1000)
    assert link.configuration()["mtu"] == 1000
    assert link.configuration()["mac"] == link.fill_info()["address"]


@pytest.mark.conformance("B25")
def test_a_link_that_is_set_down_is_written_so(plane: Plane) -> None:
    plane.port("underlay", L3)
    link = plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
    plane.datapath.set_link_up("gre1", False)
    assert link.configuration()["up"] is False
    plane.datapath.set_link_up("gre1", True)
    assert "up" not in link.configuration()
