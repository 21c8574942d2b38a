"""What becomes of a packet before a tunnel sees it, by its group, source or tag: kernel and vdp."""

from __future__ import annotations

import pytest

from tests.interop import hostile
from tests.interop.compare import ALL, Difference, run_receive
from tests.interop.hostile import CSUM, Stream
from tests.interop.kernel import GUEST_ADDRESS
from tests.interop.oracle import KernelOracle, LinkSpec
from vdp.testing.builders import vlan

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

GROUP, KEY = "239.1.1.1", 42
TAGS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}
DIFFERENCES = [
    Difference(
        "nested tags", "C23",
        "Linux since 5.5 takes off any number of tags of VLAN 0; before, and in vdp, one",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={},
    ),
]  # fmt: skip


@pytest.mark.conformance("B21", "C4", "D9", "E1")
def test_groups(oracle: KernelOracle) -> None:
    """Whoever sends to it, and our own address as the sender; the same without the group."""
    specs = [
        LinkSpec("grp", "gre", {"local": GUEST_ADDRESS, "remote": GROUP, "key": KEY}),
        LinkSpec("grpany", "gre", {"local": GUEST_ADDRESS, "key": KEY + 1}),
    ]
    groups = {}
    sources = (
        GUEST_ADDRESS,
        "192.0.2.20",
        "198.51.100.1",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.5",
        "255.255.255.255",
    )
    for source in sources:
        for destination in (GROUP, GUEST_ADDRESS):
            packets = [hostile.addressed("gre", source, destination, key) for key in (KEY, KEY + 1)]
            groups[f"{source} to {destination}"] = packets
    run_receive(oracle, specs, groups, DIFFERENCES)


@pytest.mark.conformance("E1", "E2", "E3")
def test_what_is_wrong_with_multicast_counts_twice(oracle: KernelOracle) -> None:
    spec = LinkSpec("grpbad", "gre", {"local": GUEST_ADDRESS, "remote": GROUP, "key": KEY, "seq": True})
    stream = Stream(spec, hostile.KEY | hostile.SEQ)
    whole = {
        "in order": [stream.gre(sequence=n) for n in (1, 2, 3)],
        "late": [stream.gre(sequence=n) for n in (1, 2)],
        "with a checksum": [stream.gre(word=stream.word | CSUM) for _ in range(2)],
        "wrong key": [stream.gre(key=7) for _ in range(2)],
    }
    groups = {
        name: [
            hostile.mac_changed(hostile.outer(p, src="192.0.2.20", dst=GROUP), "01:00:5e:01:01:01")
            for p in packets
        ]
        for name, packets in whole.items()
    }
    run_receive(oracle, [spec], groups, DIFFERENCES)


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_tags(oracle: KernelOracle, kind: str) -> None:
    """Of VLAN 0 with any priority, of others, in each other; padded, and cut short."""
    spec = LinkSpec("tag" + kind, kind, {"local": GUEST_ADDRESS, "remote": hostile.REMOTE})
    stream = Stream(spec, 0)
    groups = {
        f"{name} {vid} priority {priority}": [vlan(stream.packet(), vid, priority=priority, tpid=tpid)]
        for name, tpid in TAGS.items()
        for vid in (0, 1, 7, 4095)
        for priority in (0, 5)
    }
    groups["padding"] = [vlan(stream.packet(), 0) + bytes(n) for n in (1, 46)]
    groups["cut"] = [vlan(stream.packet(), 0)[:n] for n in (16, 18, 20, 37, 40)]
    groups["nested tags"] = [vlan(vlan(stream.packet(), 0), 0)]
    groups["to another card"] = [vlan(hostile.mac_changed(stream.packet(), "02:00:00:00:00:77"), 0)]
    groups["no tunnel"] = [vlan(hostile.outer(stream.gre(), src="192.0.2.30"), 0) for _ in range(2)]
    run_receive(oracle, [spec], groups, DIFFERENCES)
