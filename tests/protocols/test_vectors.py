"""Every frame of the shared vectors with GRE or WCCP: handler, inner protocol, offset, length, or drop.

Each capture gets a dataplane with the links that its frames are for; each frame is fed
through the memory underlay, and what comes out behind the link must be the bytes that
the side file says.  Where vdp answers otherwise the frame is in KNOWN_DIFFERENCES, with
a sentence; `pytest -s` prints how many of how many agree.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

import pytest

from tests import vectors
from tests.plane import L2, L3, MakePlane, Plane
from vdp.testing import builders as b

#: What vdp does with the frames of which it does otherwise than the side file says; one sentence each.
KNOWN_DIFFERENCES = {
    "udp": (
        "not_for_us",
        "GRE in UDP (RFC 8086) is not taken: no handler for IP protocol 17 is registered",
    ),
    "fragment": (
        "fragment_policy",
        "a frame port does not reassemble; an AF_INET raw port gets whole packets from the kernel",
    ),
    "cut": (
        "parse_bad_length",
        "the capture kept fewer bytes than the IP header claims, and ip_rcv drops such a packet"
        " (InTruncatedPkts); filled up to the claimed length, with zeros, it agrees, and that is tested",
    ),
}
#: Handlers and link kinds for those of the side files, by IP version of the outer packet.
HANDLERS = {
    4: {"gre": "ipgre_rcv", "gretap": "gretap_rcv", "wccp": "wccp_rcv", "erspan": "erspan_rcv",
    "erspan2": "erspan_rcv"},
    6: {"gre": "ip6gre_rcv", "erspan": "ip6erspan_rcv", "erspan2": "ip6erspan_rcv"},
}  # fmt: skip
KINDS = {
    4: {"gre": "gre", "wccp": "gre", "gretap": "gretap", "erspan": "erspan", "erspan2": "erspan"},
    6: {"gre": "ip6gre", "erspan": "ip6erspan", "erspan2": "ip6erspan"},
}
PLUGINS = ("gre", "gretap", "wccp", "erspan", "ip6gre")
IPV4, VLAN, WCCP = 0x0800, 0x8100, 0x883E


@dataclass(frozen=True)
class Wanted:
    """One packet of the vectors, from its outer IP header on, and what must become of it."""

    name: str
    packet: bytes
    handler: str = ""  # of the side file; "": it is dropped under `reason`
    inner: bytes = b""
    protocol: int = 0
    key: int | None = None  # for ERSPAN the session
    reason: str = ""
    difference: str = ""  # key of KNOWN_DIFFERENCES
    #: Of a packet that its capture has cut: all of it, with zeros for what is not there, and what is inside.
    whole: tuple[bytes, bytes] | None = None

    @property
    def version(self) -> int:
        return self.packet[0] >> 4

    @property
    def link(self) -> tuple[str, dict[str, Any]]:
        """Kind and parameters of the link that should take it: its addresses, key and checksum flag."""
        places = ((16, 20), (12, 16)) if self.version == 4 else ((24, 40), (8, 24))
        local, remote = (str(ip_address(self.packet[start:end])) for start, end in places)
        kind = KINDS[self.version].get(self.handler, "gre")
        parameters: dict[str, Any] = {"local": local, "remote": remote}
        if self.key is not None:
            parameters["key"] = self.key
        if kind.endswith("erspan"):
            return kind, parameters | ({"erspan_ver": 0} if self.key is None else {"oseq": True})
        is_summed = self.version == 4 and gre_flags(self.packet) & 0x8000
        return kind, parameters | ({"csum": True} if is_summed else {})


@dataclass
class Tally:
    """How many of how many agree, over all of this file."""

    agreed: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)


TALLY = Tally()


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    """The summary line, after all of this file's tests."""
    yield
    agreed, differing = TALLY.agreed.total(), TALLY.differing.total()
    print(f"\nagree {agreed} of {agreed + differing}")
    for name, count in TALLY.differing.items():
        print(f"  {count} differ ({name}): {KNOWN_DIFFERENCES[name][1]}")


def gre_offset(packet: bytes) -> int:
    """Where the GRE header is: behind the IPv4 header, or an IPv6 one without extensions."""
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def outer_end(packet: bytes) -> int:
    """Where the outer IP packet ends, as it says itself."""
    if packet[0] >> 4 == 4:
        return int(struct.unpack_from("!H", packet, 2)[0])
    return 40 + int(struct.unpack_from("!H", packet, 4)[0])


def gre_flags(packet: bytes) -> int:
    return int(struct.unpack_from("!H", packet, gre_offset(packet))[0])


def without_link_layer(frame: bytes) -> bytes:
    """The IP packet of a frame, its VLAN tags taken off: as the interface of that VLAN gives it."""
    at = 12
    while struct.unpack_from("!H", frame, at)[0] in (VLAN, 0x88A8):
        at += 4
    return frame[at + 2 :]


def wanted_of(found: vectors.Expectation) -> Wanted:
    """What a side file's line asks for."""
    packet, gre = without_link_layer(found.frame), found.gre
    key = gre.get("erspan", {}).get("session_id", gre.get("key"))
    if found.line.get("outer_fragment"):
        return Wanted(str(found), packet, difference="fragment")
    if found.line["encap"] not in ("gre-in-ipv4", "gre-in-ipv6"):
        return Wanted(str(found), packet, difference="udp")
    if "handler" not in gre:
        assert "drop when none registered" in gre["linux"]
        return Wanted(str(found), packet, reason="tunnel_version")
    at = gre_offset(packet) + gre["inner_offset"]
    inner, protocol = packet[at : at + gre["inner_len"]], int(gre["inner_proto"], 16)
    if gre["captured"] == gre["gre_len"]:
        return Wanted(str(found), packet, gre["handler"], inner, protocol, key)
    whole = packet.ljust(outer_end(packet), b"\0")
    filled = whole, whole[at : at + gre["inner_len"]]
    return Wanted(str(found), packet, gre["handler"], inner, protocol, key, difference="cut", whole=filled)


def hex_vectors() -> list[Wanted]:
    """The packets of hex/ and derived/ that are to be received."""
    found = []
    for name in ("dpkt", "gopacket", "ovs", "scapy", "suricata"):
        for item in vectors.load(f"hex/{name}.json") or ():
            if not item["expectation"].get("encap"):
                found.append(_hex_vector(item["name"], item["link"], item["hex_in"], item["expectation"]))
    for case in vectors.load("derived/wccp_redirect.json").get("cases", ()):
        found.append(_hex_vector(case["name"], case["link"], case["hex_in"], case["expectation"]))
    for case in vectors.load("derived/gre_gro.json").get("cases", ()):
        for number, packet in enumerate(case["packets_hex"]):
            expectation = {"handler": "gre", "key": int(packet[48:56], 16) if packet[40] == "2" else None}
            found.append(_hex_vector(f"{case['name']}-{number}", "raw-ip", packet, expectation))
    return found


def _hex_vector(name: str, link: str, text: str, expectation: dict[str, Any]) -> Wanted:
    data = bytes.fromhex(text)
    if link == "ethernet":
        data = without_link_layer(data)
    elif link == "gre":
        data = b.ipv4("192.0.2.2", "192.0.2.1", data, protocol=b.IP_GRE)
    start = gre_offset(data)
    flags, protocol = struct.unpack_from("!HH", data, start)
    if flags & 0x7F:
        return Wanted(name, data, reason="tunnel_version")
    size = start + 4 + 4 * (flags & 0xB000).bit_count() + 4 * (expectation.get("wccp_version") == 2)
    size += {1: 8, 2: 12}.get(expectation.get("erspan_version", 0), 0)
    inner = data[size : outer_end(data)]
    assert len(inner) == expectation.get("inner_len", len(inner))
    kind, key = expectation.get("handler", "gre"), expectation.get("session_id", expectation.get("key"))
    return Wanted(name, data, kind, inner, IPV4 if protocol == WCCP else protocol, key)


def build(plane: Plane, items: list[Wanted], packet_type: Any) -> dict[Wanted, str]:
    """An underlay and the links that the items are for, each led to a port of its own; link by item."""
    plane.port("underlay", packet_type)
    links: dict[str, str] = {}
    chosen = {}
    for item in items:
        kind, parameters = item.link
        identity = f"{kind} {parameters}"
        if identity not in links:
            links[identity] = name = f"{kind}{len(links)}"
            link = plane.link(name, kind, **parameters)
            plane.port(f"out-{name}", link.packet_type)
            plane.connect(name, f"out-{name}")
        chosen[item] = links[identity]
    return chosen


def feed(plane: Plane, packet: bytes) -> dict[str, int]:
    """Send one packet to the underlay, as its type wants it; the drops that followed, by reason."""
    before = Counter(plane.drops("underlay"))
    is_frame = plane.datapath.ports["underlay"].packet_type is L2
    plane.send("underlay", b.ethernet(packet) if is_frame else packet)
    plane.received("underlay")  # ICMP errors
    return dict(Counter(plane.drops("underlay")) - before)


def check(plane: Plane, item: Wanted, link: str) -> None:
    """The item's packet goes where it should, as it should."""
    assert not item.difference
    before = plane.verdicts()
    drops = feed(plane, item.packet)
    if item.reason:
        assert drops == {item.reason: 1}, item.name
        return
    assert drops == {}, item.name
    leaves = {name for names in HANDLERS.values() for name in names.values()}
    took = {
        name for name, counts in plane.verdicts().items()
        if name in leaves and counts.get("received", 0) > before[name].get("received", 0)
    }  # fmt: skip
    assert took == {HANDLERS[item.version][item.handler]}, item.name
    (out,) = plane.collect(f"out-{link}")
    assert out.data == item.inner, item.name
    if plane.datapath.links[link].packet_type is L3:
        assert int.from_bytes(out.meta[4:8], "big") == item.protocol, item.name


def run(plane: Plane, items: list[Wanted], packet_type: Any, count: bool) -> None:
    """Feed all of them, and count those that agree."""
    links = build(plane, items, packet_type)
    for item in items:
        if item.difference:
            reason = KNOWN_DIFFERENCES[item.difference][0]
            assert feed(plane, item.packet) == {reason: 1}, item.name
            if item.whole is not None:
                packet, inner = item.whole
                check(plane, replace(item, packet=packet, inner=inner, difference=""), links[item])
        else:
            check(plane, item, links[item])
        if count:
            (TALLY.differing if item.difference else TALLY.agreed)[item.difference or item.name] += 1


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    return make_plane(PLUGINS)


def underlays() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("underlay", [L2, L3], ids=["frames", "packets"])


def counted(plane: Plane, underlay: Any) -> bool:
    """Each frame counts once in the summary, whatever the number of engines and underlays."""
    return underlay is L2 and type(plane.engine).__name__ == "NativeEngine"


@pytest.mark.conformance("C5", "C7", "C16", "L16")
@vectors.needed
@underlays()
@pytest.mark.parametrize("capture", vectors.captures())
def test_a_captured_frame_gives_what_its_side_file_says(plane: Plane, capture: str, underlay: Any) -> None:
    items = [wanted_of(found) for found in vectors.expectations(capture)]
    assert items
    run(plane, items, underlay, counted(plane, underlay))


@pytest.mark.conformance("C5")
@vectors.needed
@underlays()
@pytest.mark.parametrize("item", hex_vectors(), ids=lambda item: item.name)
def test_a_packet_in_hex_gives_what_is_expected(plane: Plane, item: Wanted, underlay: Any) -> None:
    run(plane, [item], underlay, counted(plane, underlay))


@vectors.needed
def test_every_frame_agrees_but_those_that_their_captures_cut() -> None:
    """Those are filled up where they are fed: headers, offset and length are as the side file says."""
    items = [wanted_of(found) for name in vectors.captures() for found in vectors.expectations(name)]
    differing = [item for item in items + hex_vectors() if item.difference]
    assert {item.difference for item in differing} <= {"cut"}
    assert all(item.whole is not None for item in differing)
    assert len(differing) < len(items) // 5


@pytest.mark.parametrize(
    ("difference", "packet"),
    [
        ("udp", b.ipv4("192.0.2.2", "192.0.2.1", b.udp(50000, 4754, b.gre(bytes(20))))),
        ("fragment", b.ipv4("192.0.2.2", "192.0.2.1", b.gre(bytes(20)), protocol=b.IP_GRE, flags=1)),
    ],
)
def test_what_differs_but_is_in_no_capture_is_as_the_table_says(
    plane: Plane, difference: str, packet: bytes
) -> None:
    plane.port("underlay", L2)
    plane.link("gre1", "gre")
    assert feed(plane, packet) == {KNOWN_DIFFERENCES[difference][0]: 1}


@pytest.mark.conformance("C23")
@vectors.needed
def test_a_tagged_frame_belongs_to_the_interface_of_its_vlan(plane: Plane) -> None:
    """As in Linux: eth0 itself does not receive IP from VLAN 100, eth0.100 does, without the tag."""
    plane.port("underlay", L2)
    plane.link("gre1", "gre")
    found = vectors.expectations("captures/suricata-verify/gre-udp.pcap")[0]
    assert found.frame[12:14] == b"\x81\0"
    plane.send("underlay", found.frame)
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.conformance("E9")
@vectors.needed
def test_gretap_frames_come_out_as_on_the_kernels_own_device(plane: Plane) -> None:
    """The same ping on the wire (veth2) and on the kernel's gretap device: equal, frame by frame."""
    folder = "captures/pcaps/gre-ethernet__ping__"
    items = [wanted_of(found) for found in vectors.expectations(f"{folder}veth2.pcap")]
    links = build(plane, items, L2)
    inner = []
    for item in items:
        feed(plane, item.packet)
        inner += plane.received(f"out-{links[item]}")
    assert inner == vectors.frames(f"{folder}gretap2.pcap")


@pytest.mark.conformance("K2")
@vectors.needed
def test_packets_for_the_cache_know_their_service_and_buckets(plane: Plane) -> None:
    """The redirect header of WCCP version 2 goes along in register 0."""
    items = [item for item in hex_vectors() if item.handler == "wccp"]
    links = build(plane, items, L3)
    registers = []
    for item in items:
        feed(plane, item.packet)
        (out,) = plane.collect(f"out-{links[item]}")
        registers.append(out.meta[8:12])
    assert registers == [bytes(4), bytes((0, 0, 0, 72)), bytes(4)]


# -- what is to be sent ----------------------------------------------------------------------


def ovs_vector(name: str) -> dict[str, Any]:
    return next((item for item in vectors.load("hex/ovs.json") if item["name"] == name), {})


def beyond_ethernet(frame: bytes) -> bytes:
    return frame[14:]


def without_id(packet: bytes) -> bytes:
    """The outer header without identification and checksum: with DF the id says nothing (RFC 6864)."""
    return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]


@vectors.needed
def test_a_packet_goes_into_gre_as_ovs_sends_it(plane: Plane) -> None:
    item = ovs_vector("encap_l3gre_from_ethernet_1")
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local="10.0.0.1", remote="10.0.0.2")
    plane.connect("lan", "gre1")
    plane.send("lan", beyond_ethernet(bytes.fromhex(item["hex_in"])))
    (sent,) = plane.received("underlay")
    assert without_id(sent) == without_id(beyond_ethernet(bytes.fromhex(item["expectation"]["hex_out"])))


@vectors.needed
def test_a_packet_reflected_into_its_tunnel_goes_out_as_ovs_sends_it(plane: Plane) -> None:
    item = ovs_vector("l3gre_v4_reencap_reflect")
    packet = beyond_ethernet(bytes.fromhex(item["hex_in"]))
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local="1.1.2.88", remote="1.1.2.92", key=456, ttl=64)
    rules = [{"priority": 1, "match": {"in_port": "gre1"}, "actions": ["output:gre1"]}]
    from vdp.config.model import RuleSection
    from vdp.forwarding.rules import compile_rule

    plane.datapath.forwarding.rules = tuple(compile_rule(RuleSection.model_validate(rule)) for rule in rules)
    plane.send("underlay", packet)
    (sent,) = plane.received("underlay")
    assert without_id(sent) == without_id(beyond_ethernet(bytes.fromhex(item["expectation"]["hex_out"])))


@pytest.mark.conformance("H1", "H4", "H7")
@vectors.needed
def test_a_super_packet_goes_into_gretap_segment_by_segment_as_ovs_sends_it(plane: Plane) -> None:
    from vdp.engine.interface import Offload

    item = ovs_vector("gso_gre_v4_outer_v4_inner_2000B_mss500")
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("gt1", "gretap", local="1.1.2.88", remote="1.1.2.92", key=123, ttl=64)
    plane.bridge("br0", "lan", "gt1")
    offload = Offload(True, 34, 16, gso_type=1, gso_size=item["expectation"]["gso_size"], header_size=54)
    frame = bytearray.fromhex(item["hex_in"])
    frame[50:52] = struct.pack("!H", b.pseudo_sum(bytes(frame[26:34]), 6, len(frame) - 34))
    plane.send("lan", bytes(frame), offload=offload)
    sent = plane.received("underlay")
    wanted = [beyond_ethernet(bytes.fromhex(text)) for text in item["expectation"]["hex_out"]]
    assert [without_id(packet) for packet in sent] == [without_id(packet) for packet in wanted]
    ids = [struct.unpack_from("!H", packet, 4)[0] for packet in sent]
    assert ids == [ids[0] + n for n in range(4)], "the outer id grows by one a segment"


@pytest.mark.conformance("F9")
@vectors.needed
def test_gre_packets_of_one_flow_are_coalesced_as_the_kernel_would(make_plane: MakePlane) -> None:
    """derived/gre_gro.json: what is merged and what is not comes out of the link's cell so."""
    for case in vectors.load("derived/gre_gro.json")["cases"]:
        plane = make_plane()
        plane.port("underlay", L3)
        packets = [bytes.fromhex(text) for text in case["packets_hex"]]
        keys = {struct.unpack_from("!I", packet, 24)[0] for packet in packets if packet[20] & 0x20}
        for key in sorted(keys) or [None]:
            plane.link(f"gre{key}", "gre", **({} if key is None else {"key": key}))
        plane.arrive("underlay", *packets)
        plane.settle()
        cells = [plane.stats(name) for name in plane.datapath.links]
        assert [cell.merged for cell in cells if cell.offered] == [
            len(group) - 1 for group in case["merged"]
        ], case["name"]
