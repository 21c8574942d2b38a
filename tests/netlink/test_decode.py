"""Messages that are not as rtnetlink(7) has them are refused, and who listens goes on."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from tests.fuzz import netlink_messages as n
from tests.lab import Lab
from tests.netlink.test_netlink import on, until
from vdp.netlink import LinkChanged, Netlink, decode
from vdp.netlink.tables import Tables

from pyroute2.netlink.rtnl.marshal import MarshalRtnl  # isort: skip: vdp.netlink lets it in first

WHOLE = n.neighbour(decode.RTM_NEWNEIGH, socket.AF_INET, n.A)
#: An IPv6 address of which 4 bytes are there: the library leaves it as bytes, with its header.
ENDS_EARLY = struct.pack("=HH", 20, 1) + n.A
CUT = n.message(decode.RTM_NEWNEIGH, b"\n" + WHOLE[17:28], ENDS_EARLY)
CUT_ADDRESS = n.message(decode.RTM_NEWADDR, struct.pack("=BBBBi", 10, 64, 0, 0, 4), ENDS_EARLY)
CUT_ROUTE = n.message(decode.RTM_NEWROUTE, b"\n\x40" + bytes(10), ENDS_EARLY)
LONG_PREFIX = n.address(decode.RTM_NEWADDR, socket.AF_INET, n.A, 200)


def read(data: bytes) -> Any:
    """The one message of a datagram, as the library reads it."""
    [found] = MarshalRtnl().parse(data)
    return found


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (CUT, "a neighbour that can not be read: NDA_DST is b"),
        (CUT_ADDRESS, "an address that can not be read: IFA_ADDRESS is b"),
        (CUT_ROUTE, "a route that can not be read: RTA_DST is b"),
        (LONG_PREFIX, "an address that can not be read: '192.0.2.1/200'"),
    ],
)
def test_another_shape_is_refused(data: bytes, what: str) -> None:
    """Bytes in particular: ipaddress would make an address of the attribute's header and what follows."""
    with pytest.raises(decode.Unreadable, match=f"a message about {what}"):
        Tables().apply(read(data))


def test_who_listens_passes_over_what_it_can_not_read(caplog: pytest.LogCaptureFixture) -> None:
    netlink = Netlink()
    for data in (CUT, WHOLE):
        netlink._apply(read(data))
    assert [str(neighbour.address) for neighbour in netlink.neighbours.values()] == ["192.0.2.1"]
    assert "a message about a neighbour that can not be read" in caplog.text


@pytest.mark.root
def test_who_listens_goes_on_when_the_library_fails(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is asked for again: what the message was about is known after it."""
    host = lab.host("one")
    failures: list[bytes] = []

    def parse(marshal: MarshalRtnl, data: bytes, *arguments: Any) -> Any:
        if b"new0" in data and not failures:
            failures.append(data)
            raise struct.error("unpack_from requires a buffer of at least 24 bytes")
        return whole(marshal, data, *arguments)

    async def test(netlink: Netlink) -> None:
        before = netlink.overruns
        await until(
            netlink,
            lambda: host.ip("link", "add", "new0", "type", "veth"),
            lambda e: isinstance(e, LinkChanged) and e.new is not None and e.new.name == "new0",
        )
        assert failures
        assert netlink.overruns > before

    whole = MarshalRtnl.parse
    monkeypatch.setattr(MarshalRtnl, "parse", parse)
    on(host, test)
