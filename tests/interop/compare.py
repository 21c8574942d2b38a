"""What is compared of the kernel and vdp, and what may differ: only what a table of differences says.

Each test file of a family has its table.  A difference names a row of the feature list, a
reason, and what either side makes of a group of packets; that is asserted, too.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.interop.configured import ConfigurationDifference, configured_alike
from tests.interop.oracle import Groups, KernelOracle, LinkSpec, Outcome, VdpOracle

#: Stands for the number of packets in the group.
ALL = -1
ETH_IPV4 = b"\x08\x00"


@dataclass(frozen=True)
class Difference:
    """Groups by pattern of their names, and what either side makes of each (Outcome.summary)."""

    groups: str
    row: str
    reason: str
    kernel: dict[str, int]
    vdp: dict[str, int]


def without_id(frame: bytes) -> bytes:
    """A frame whose outer IPv4 identification, and the checksum over it, are taken out."""
    if frame[12:14] != ETH_IPV4:
        return frame
    return frame[:18] + bytes(2) + frame[20:24] + bytes(2) + frame[26:]


def check(
    groups: Mapping[str, Any],
    kernel: dict[str, Outcome],
    vdp: dict[str, Outcome],
    differences: Sequence[Difference],
    comparable: Callable[[bytes], bytes] = without_id,
) -> None:
    """Outcomes are the same, but for what `differences` says, and there they are what it says.

    `comparable` takes out of a sent frame what need not be the same.
    """
    wrong = []
    agreed = 0
    for name in groups:
        one, other = kernel[name], vdp[name]
        known = next((d for d in differences if fnmatch.fnmatchcase(name, d.groups)), None)
        if known is not None:
            size = len(_frames(groups[name]))
            expected = [
                {n: size if c == ALL else c for n, c in side.items()} for side in (known.kernel, known.vdp)
            ]
            if [one.summary(), other.summary()] != expected:
                wrong.append(f"{name}: {known}\n  kernel {one.summary()}\n  vdp    {other.summary()}")
        elif not (text := contrast(one, other, comparable)):
            agreed += len(_frames(groups[name]))
        else:
            wrong.append(f"{name}:\n{text}")
    total = sum(len(_frames(frames)) for frames in groups.values())
    print(f"{agreed} of {total} packets in {len(groups)} groups agree")
    assert not wrong, f"{len(wrong)} of {len(groups)} groups\n" + "\n".join(wrong)


def _frames(group: Any) -> Sequence[bytes]:
    """Of a group: what is sent by a link has the link's name in front."""
    return group[1] if isinstance(group, tuple) else group  # type: ignore[no-any-return]


def contrast(kernel: Outcome, vdp: Outcome, comparable: Callable[[bytes], bytes] = without_id) -> str:
    """What is not the same; "" where nothing is."""
    lines = []
    if kernel.counters != vdp.counters:
        lines.append(f"  counters: kernel {kernel.counters}, vdp {vdp.counters}")
    for what, one, other in (
        ("output", _flat(kernel), _flat(vdp)),
        ("sent", [comparable(f) for f in kernel.sent], [comparable(f) for f in vdp.sent]),
    ):
        if one != other:
            lines.append(f"  {what}: kernel {len(one)}, vdp {len(other)}")
            lines += [f"    kernel only {_hex(p)}" for p in one if p not in other][:3]
            lines += [f"    vdp only    {_hex(p)}" for p in other if p not in one][:3]
    return "\n".join(lines)


def _flat(outcome: Outcome) -> list[Any]:
    return [(link, *packet) for link in sorted(outcome.output) for packet in outcome.output[link]]


def _hex(packet: Any) -> str:
    if isinstance(packet, bytes):
        return packet.hex()
    return f"{packet[0]} {packet[1]:#06x} {packet[2].hex()}"


def run_receive(
    oracle: KernelOracle,
    specs: Sequence[LinkSpec],
    groups: Groups,
    differences: Sequence[Difference],
    settings: Mapping[str, dict[str, Any]] | None = None,
    **parts: Any,
) -> None:
    """Into both, and check; `settings` are of vdp's plugins, `parts` go to VdpOracle."""
    with oracle.links(*specs):
        from_kernel = oracle.receive(specs, groups)
    with closing(VdpOracle(specs, settings, **parts)) as vdp:
        check(groups, from_kernel, vdp.receive(groups), differences)


def run_configurations(
    oracle: KernelOracle,
    kind: str,
    underlays: Mapping[int, str],
    links: Mapping[int, Sequence[dict[str, Any]]],
    differences: Sequence[ConfigurationDifference],
    already: Sequence[LinkSpec] = (),
) -> None:
    """Make links of these parameters, on underlays of some MTU, at both: accepted alike, and read back alike.

    `underlays` are prefixes by MTU, but for the card's own; `already` is what vdp has before, as the
    kernel has its fallback devices.
    """
    specs = {
        mtu: [LinkSpec(f"c{mtu}x{n}", kind, parameters) for n, parameters in enumerate(all_of)]
        for mtu, all_of in links.items()
    }
    with oracle.underlays(underlays):
        from_kernel = oracle.configure([each for all_of in specs.values() for each in all_of])
    wrong = []
    for mtu, all_of in specs.items():
        with closing(VdpOracle(already, mtu=mtu)) as vdp:
            for each in all_of:
                text = configured_alike(
                    kind, each.parameters, from_kernel[each.name], vdp.configure(each), differences
                )
                wrong += [f"{each.name} {each.parameters}: {text}"] * bool(text)
    total = sum(map(len, specs.values()))
    print(f"{total - len(wrong)} of {total} configurations agree")
    assert not wrong, "\n".join(wrong)
