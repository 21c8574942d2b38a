"""Link life against a real kernel: MTU bounds, flags and addresses, the bound device, the fallback link."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.interop import hostile
from tests.interop.compare import check
from tests.interop.configured import errno_name
from tests.interop.kernel import GUEST_ADDRESS, Guest
from tests.interop.oracle import GUEST_MAC, KernelOracle, LinkSpec, VdpOracle
from vdp.engine.interface import META_DEVICE, MemoryPacket
from vdp.links.link import LinkError
from vdp.links.paths import Device
from vdp.testing.builders import mac

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
KINDS = ("gre", "gretap")
ENDS = {"local": GUEST_ADDRESS, "remote": "192.0.2.20"}
#: The guest's devices: index on vdp's side, MTU.  Frames come by the first.
DEVICES = {"eth0": Device(2, 1500, 14), "d1": Device(41, 1280, 14), "d2": Device(42, 9000, 14)}


@pytest.fixture(scope="module")
def oracle(kernel_guest: Guest) -> Iterator[KernelOracle]:
    with closing(KernelOracle(kernel_guest)) as made:
        yield made


@pytest.fixture
def devices(oracle: KernelOracle) -> Iterator[None]:
    """Those that the guest has not."""
    others = {name: device for name, device in DEVICES.items() if name != "eth0"}
    try:
        oracle.batch(
            [f"link add {name} mtu {each.mtu} type dummy" for name, each in others.items()]
            + [f"link set {name} up" for name in others]
        )
        yield
    finally:
        oracle.batch([f"link del {name}" for name in others], force=True)


def refused(oracle: KernelOracle, *lines: str) -> dict[str, str]:
    """What `ip` was told that failed, with the error's name."""
    errors = oracle.batch(lines, force=True)
    names = {"Error: mtu less than device minimum.": "EINVAL"}  # since 4.10 said by the core
    return {lines[number]: names.get(said) or errno_name(said) for number, said in errors.items()}


class Bound(VdpOracle):
    """vdp's side with the guest's devices; frames come in by one of them."""

    def __init__(self, specs: list[LinkSpec], by: str = "eth0") -> None:
        super().__init__(())
        self.plane.paths.devices = dict(DEVICES)  # type: ignore[attr-defined]
        self._by = DEVICES[by].index
        self._specs = specs
        for spec in specs:
            self._add(spec)

    def _add(self, spec: LinkSpec) -> None:
        from vdp.engine.interface import PacketType

        self.plane.port(f"lan-{spec.name}", PacketType.L2 if spec.is_frames else PacketType.L3)
        self.plane.link(spec.name, spec.kind, **spec.parameters)
        self.plane.connect(f"lan-{spec.name}", spec.name)

    def _inject(self, port: str, frame: bytes) -> None:
        meta = bytearray(32)
        meta[4 * META_DEVICE :] = self._by.to_bytes(4, "big")
        self.plane.engine.inject(self.plane.datapath.ports[port].number, MemoryPacket(frame, bytes(meta)))


# -- change_mtu ------------------------------------------------------------------------------

#: Headers that are sent, by options of the header.
HEADERS = {"plain": ({}, 24), "key": ({"key": 1}, 28), "all": ({"key": 1, "csum": True, "seq": True}, 36)}


@pytest.mark.conformance("B24")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", HEADERS)
def test_mtus_that_a_link_can_be_given(oracle: KernelOracle, options: str, kind: str) -> None:
    """The same are taken, and the same refused as EINVAL, but for the last seven.

    4.16 made the most 0xFFFF less the headers; before it was 0xFFF8 (ip_tunnel_change_mtu), and is in vdp.
    """
    more, size = HEADERS[options]
    spec = LinkSpec("m0", kind, {**ENDS, **more})
    headers = size + (14 if kind == "gretap" else 0)
    older, newer = 0xFFF8 - headers, 0xFFFF - headers
    agreed = [0, 1, 67, 68, 69, 576, 1280, 1500, 9000, older - 1, older, newer + 1, 65535, 65536, 70000]
    between = list(range(older + 1, newer + 1))
    with oracle.links(spec):
        lines = {f"link set m0 mtu {mtu}": mtu for mtu in agreed + between}
        from_kernel = {lines[line]: name for line, name in refused(oracle, *lines).items()}
    with closing(VdpOracle([spec])) as vdp:
        from_vdp = {}
        for mtu in lines.values():
            try:
                vdp.plane.datapath.set_link_mtu("m0", mtu)
            except LinkError as error:
                from_vdp[mtu] = errno.errorcode[error.errno or 0]
    assert set(from_kernel) == {0, 1, 67, newer + 1, 65535, 65536, 70000}
    assert set(from_kernel.values()) == {"EINVAL"}
    assert from_vdp == from_kernel | dict.fromkeys(between, "EINVAL")


# -- flags and addresses ---------------------------------------------------------------------

SHAPES: dict[str, dict[str, Any]] = {
    "both ends": ENDS,
    "any local": {"remote": "192.0.2.20"},
    "any remote": {"local": GUEST_ADDRESS},
    "keyed": {"key": 5},
    "group": {"local": GUEST_ADDRESS, "remote": "239.1.1.1", "key": 7},
    "another": {"local": GUEST_ADDRESS, "remote": "192.0.2.21", "seq": True},
}


@pytest.mark.conformance("B11", "B14", "B15", "B16", "B8")
@pytest.mark.parametrize("kind", KINDS)
def test_flags_and_addresses(oracle: KernelOracle, kind: str) -> None:
    """`ip link show`: what stands between < and >, link/gre and peer, or a MAC address."""
    specs = [LinkSpec(f"s{n}", kind, parameters) for n, parameters in enumerate(SHAPES.values())]
    with oracle.links(*specs):
        rows = json.loads(oracle._guest.sh("ip -d -j link show"))
    wrong = []
    with closing(VdpOracle(specs)) as vdp:
        for (shape, parameters), spec in zip(SHAPES.items(), specs, strict=True):
            (row,) = [row for row in rows if row["ifname"] == spec.name]
            info = vdp.plane.datapath.links[spec.name].fill_info()
            kernel = {"flags": set(row["flags"]) - {"LOWER_UP"}, "broadcast": row["broadcast"]}
            ours = {"flags": set(info["flags"]), "broadcast": info["broadcast"]}
            if kind == "gre":
                kernel["address"], ours["address"] = row["address"], info["address"]
            else:
                for address in (row["address"], info["address"]):
                    assert mac(address)[0] & 3 == 2, "random, one station's, locally administered"
            if kernel != ours:
                wrong.append(f"{shape} {parameters}: kernel {kernel}, vdp {ours}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.conformance("B8", "B3")
def test_a_mac_that_is_no_stations_is_refused_by_both(oracle: KernelOracle) -> None:
    for text in ("01:00:00:00:00:01", "00:00:00:00:00:00"):
        line = f"link add m0 address {text} type gretap local {GUEST_ADDRESS} remote 192.0.2.20"
        assert refused(oracle, line) == {line: "EADDRNOTAVAIL"}
        with closing(VdpOracle(())) as vdp:
            assert vdp.configure(LinkSpec("m0", "gretap", {**ENDS, "mac": text})) == "EINVAL"


# -- link ------------------------------------------------------------------------------------


@pytest.mark.conformance("B10", "B12", "B26", "B6")
@pytest.mark.parametrize("kind", KINDS)
def test_links_that_are_bound_to_a_device(oracle: KernelOracle, devices: None, kind: str) -> None:
    """MTU with and without a route by it, duplicates, and what they are bound to (NAME@LINK)."""
    found: list[dict[str, Any]] = [
        {**ENDS, "link": "eth0"}, {**ENDS, "link": "eth0"}, {**ENDS, "link": "d1"}, {**ENDS, "link": "d2"},
        ENDS, {"local": GUEST_ADDRESS, "link": "d1"}, {"local": GUEST_ADDRESS, "link": "d2"},
        {"local": GUEST_ADDRESS}, {"key": 3, "link": "d2"}, {**ENDS, "key": 4, "link": "d1", "mtu": 1300},
    ]  # fmt: skip
    specs = [LinkSpec(f"b{n}", kind, parameters) for n, parameters in enumerate(found)]
    lines = [spec.add() for spec in specs]
    try:
        errors = refused(oracle, *lines)
        rows = {row["ifname"]: row for row in json.loads(oracle._guest.sh("ip -d -j link show"))}
    finally:
        oracle.batch([f"link del {spec.name}" for spec in specs], force=True)
    with closing(VdpOracle(())) as vdp:
        vdp.plane.paths.devices = dict(DEVICES)  # type: ignore[attr-defined]
        for spec, line in zip(specs, lines, strict=True):
            made = vdp.configure(spec)
            if line in errors:
                assert made == errors[line], spec
                continue
            assert isinstance(made, dict), spec
            row = rows[spec.name]
            assert made["mtu"] == row["mtu"], spec
            assert made["link"] == row.get("link"), spec


@pytest.mark.conformance("B12")
def test_a_device_that_is_not_there(oracle: KernelOracle) -> None:
    """iproute2 looks for it before it asks the kernel; vdp says ENODEV."""
    spec = LinkSpec("b0", "gre", {**ENDS, "link": "d9"})
    asked = oracle._guest.run(f"ip {spec.add()}")
    assert asked.status
    assert 'Cannot find device "d9"' in asked.err
    with closing(VdpOracle(())) as vdp:
        assert vdp.configure(spec) == "ENODEV"


LOCAL, REMOTE = {"local": GUEST_ADDRESS}, {"remote": "192.0.2.20"}
BOUND: dict[str, list[dict[str, Any]]] = {
    "bound wins over unbound": [{**ENDS}, {**ENDS, "link": "eth0"}, {**ENDS, "link": "d1"}],
    "bound elsewhere is a candidate": [{**ENDS, "link": "d1"}, {**ENDS, "link": "d2"}],
    "a later pass wins if bound": [{**ENDS}, {**REMOTE, "link": "eth0"}],
    "the last pass wins if bound": [{**ENDS, "key": 7}, LOCAL, {"key": 7, "link": "eth0"}],
    "candidates of the first pass": [{**ENDS, "link": "d1"}, REMOTE, {**ENDS, "link": "d2"}],
    "candidates of the second": [{**REMOTE, "link": "d1"}, {**REMOTE, "link": "d2"}],
    "candidates of the third": [{**LOCAL, "link": "d1"}, {**LOCAL, "link": "d2"}],
    "candidates of the last": [{"key": 7, "link": "d1"}, {"key": 7, "link": "d2"}],
    "an earlier pass keeps its candidate": [
        {**ENDS, "link": "d1"}, REMOTE, LOCAL, {"key": 0, "link": "d2"},
    ],
}  # fmt: skip


def lookup_groups(kind: str) -> dict[str, list[bytes]]:
    return {
        f"{source} {key}": [hostile.addressed(kind, source, GUEST_ADDRESS, key)]
        for source in ("192.0.2.20", "192.0.2.21")
        for key in (None, 0, 7, 9)
    }


@pytest.mark.conformance("D6")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", BOUND)
@pytest.mark.parametrize("order", ["as listed", "reversed"])
def test_lookup_with_bound_links(
    oracle: KernelOracle, devices: None, which: str, order: str, kind: str
) -> None:
    """A packet that comes by eth0, at tunnels bound there, elsewhere, or not at all; made in either order."""
    specs = [LinkSpec(f"l{n}", kind, parameters) for n, parameters in enumerate(BOUND[which])]
    specs = specs if order == "as listed" else specs[::-1]
    groups = lookup_groups(kind)
    with oracle.links(*specs):
        from_kernel = oracle.receive(specs, groups)
    with closing(Bound(specs)) as vdp:
        check(groups, from_kernel, vdp.receive(groups), ())


# -- the fallback link -----------------------------------------------------------------------


@contextmanager
def fallback_up(oracle: KernelOracle, kind: str) -> Iterator[LinkSpec]:
    """gre0 or gretap0, which the kernel has, down, from the start."""
    name = f"{kind}0"
    if kind == "gretap":  # the kernel gives it none, and without one it can not be up
        oracle.batch([f"link set {name} address 02:00:00:00:00:f0"])
    oracle.batch([f"link set {name} up"])
    try:
        yield LinkSpec(name, kind, {"fallback": True})
    finally:
        oracle.batch([f"link set {name} down"])


@pytest.mark.conformance("A13", "D8", "E2", "E3")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", ["alone", "all passes", "key 0", "bound"])
def test_what_no_link_takes_with_the_fallback_up(
    oracle: KernelOracle, devices: None, kind: str, beside: str
) -> None:
    """Whatever its key; with a checksum it is an error, since the fallback's flags are all zero."""
    others: dict[str, list[dict[str, Any]]] = {
        "alone": [],
        "all passes": [
            ENDS,
            {**ENDS, "key": 7},
            {"remote": "192.0.2.21"},
            {"local": GUEST_ADDRESS, "key": 9},
        ],
        "key 0": [{"key": 0}, {"key": 9}],
        "bound": [{**ENDS, "link": "d1"}, {"key": 7, "link": "d1"}, {"key": 9, "link": "eth0"}],
    }
    specs = [LinkSpec(f"l{n}", kind, parameters) for n, parameters in enumerate(others[beside])]
    groups = lookup_groups(kind)
    for word in (
        hostile.CSUM,
        hostile.SEQ,
        hostile.CSUM | hostile.KEY | hostile.SEQ,
        hostile.KEY | hostile.SEQ,
    ):
        stream = hostile.Stream(LinkSpec("x", kind, {"local": GUEST_ADDRESS, "remote": "192.0.2.30"}), word)
        groups[f"options {word:#06x}"] = [stream.packet() for _ in range(3)]
    with oracle.links(*specs), fallback_up(oracle, kind) as fallback:
        every = [*specs, fallback]
        from_kernel = oracle.receive(every, groups)
    with closing(Bound([fallback, *specs])) as vdp:
        check(groups, from_kernel, vdp.receive(groups), ())
    assert sum(outcome.count(fallback.name) for outcome in from_kernel.values()) >= 5


@pytest.mark.conformance("D8", "B29")
@pytest.mark.parametrize("kind", KINDS)
def test_a_fallback_that_is_down_takes_nothing(oracle: KernelOracle, kind: str) -> None:
    spec = LinkSpec(f"{kind}0", kind, {"fallback": True, "up": False})
    frames = [frame for group in lookup_groups(kind).values() for frame in group]
    before = oracle.counters([spec], ["rx_packets"])
    errors = [hostile.icmp_error(frame[14:]) for frame in oracle.wire.exchange(frames)]
    assert oracle.counters([spec], ["rx_packets"]) == before
    with closing(Bound([spec])) as vdp:
        outcome = vdp.receive({"all": frames})["all"]
    assert [hostile.icmp_error(frame[14:]) for frame in outcome.sent] == errors
    assert len(errors) == len(frames)
    assert not outcome.counters


@pytest.mark.conformance("B22", "B23", "B6", "A13", "B25")
@pytest.mark.parametrize("kind", KINDS)
def test_what_can_not_be_done_to_a_fallback(oracle: KernelOracle, kind: str) -> None:
    """changelink: EINVAL; a link of its parameters: EEXIST; deleting: EPERM, or over netlink nothing."""
    name = f"{kind}0"
    change = f"link set {name} type {kind} remote 192.0.2.20 local {GUEST_ADDRESS}"
    again = f"link add any0 type {kind} local any remote any"
    assert refused(oracle, change, again) == {change: "EINVAL", again: "EEXIST"}
    gone = oracle._guest.run(f"ip link del {name}")
    if kind == "gre":
        assert "Operation not permitted" in oracle._guest.run(f"ip tunnel del {name}").err
    (row,) = json.loads(oracle._guest.sh(f"ip -d -j link show {name}"))
    data = row["linkinfo"]["info_data"]
    assert gone.status in (0, 2)
    with closing(VdpOracle([LinkSpec(name, kind, {"fallback": True, "up": False})])) as vdp:
        with pytest.raises(LinkError) as changed:
            vdp.plane.change_link(name, **ENDS)
        with pytest.raises(LinkError) as deleted:
            vdp.plane.remove_link(name)
        assert (changed.value.errno, deleted.value.errno) == (errno.EINVAL, errno.EPERM)
        assert vdp.configure(LinkSpec("any0", kind, {})) == "EEXIST"
        link = vdp.plane.datapath.links[name]
        info = link.fill_info()
    assert (
        (info["local"], info["remote"])
        == (data.get("local", "any"), data.get("remote", "any"))
        == ("any", "any")
    )
    assert info["pmtudisc"] == bool(data.get("pmtudisc"))
    assert (info["ttl"], data.get("ttl", 0)) == ("inherit", 0)
    assert link.mtu == row["mtu"]
    assert set(info["flags"]) == set(row["flags"])


def test_the_oracles_devices_are_the_guests(oracle: KernelOracle) -> None:
    (row,) = json.loads(oracle._guest.sh("ip -j link show eth0"))
    assert (row["mtu"], row["address"]) == (DEVICES["eth0"].mtu, GUEST_MAC)
