"""A plugin in one file: says which links there are, once they are up."""

import logging

import pytest

from vdp.api import Datapath, PacketType, hookimpl
from vdp.testing import Dataplane

vdp_api = 1


@hookimpl
def vdp_start(datapath: Datapath) -> None:
    logging.getLogger(__name__).info("links: %s", ", ".join(datapath.links) or "none")


@pytest.mark.vdp("gre", f"census={__name__}")
def test_it_comes_when_links_are_there(plane: Dataplane, caplog: pytest.LogCaptureFixture) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
    with caplog.at_level(logging.INFO):
        plane.start()
    assert "links: gre1" in caplog.text
