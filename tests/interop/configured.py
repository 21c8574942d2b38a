"""What became of a link's configuration: the kernel's words (`ip -d -j link`) in those of vdp's fill_info."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

#: A link's parameters as they are in force, with its MTU; or the name of the error.
Configured = dict[str, Any] | str
SHAPES = {"BROADCAST": "broadcast", "POINTOPOINT": "point-to-point"}


def errno_name(said: str) -> str:
    """The name of the error that iproute2 tells about."""
    if said == "A broadcast tunnel requires a source address.":
        return "EINVAL"  # ip itself asks for what ipgre_tunnel_init would
    texts = {os.strerror(number): name for number, name in errno.errorcode.items()}
    return texts.get(said.partition("answers: ")[2].strip().rstrip("."), said)


def in_force(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `ip -d -j link`, in the words of fill_info."""
    info = row["linkinfo"]
    data = info["info_data"]
    found: dict[str, Any] = {"mtu": row["mtu"]}
    for side in "io":
        key = data.get(f"{side}key")
        found[f"{side}key"] = None if key is None else int(IPv4Address(key))
        flags = [name for name in ("csum", "seq") if data.get(side + name)]
        found[f"{side}flags"] = sorted(flags + ["key"] * (key is not None))
    shape = next((SHAPES[flag] for flag in SHAPES if flag in row["flags"]), "multipoint")
    found |= {
        "class": "ethernet" if row["link_type"] == "ether" else shape,
        "local": data.get("local", "any"),
        "remote": data.get("remote", "any"),
        "ttl": data.get("ttl", 0) or "inherit",
    }
    return found | (_ip6(data) if info["info_kind"].startswith("ip6") else _ip4(data))


def _ip4(data: Mapping[str, Any]) -> dict[str, Any]:
    tos = int(str(data.get("tos", 0)), 16)
    return {
        "tos": {0: 0, 1: "inherit"}.get(tos, tos),
        "pmtudisc": bool(data.get("pmtudisc")),
        "ignore_df": bool(data.get("ignore_df")),
    }


def _ip6(data: Mapping[str, Any]) -> dict[str, Any]:
    """struct __ip6_tnl_parm.  Flow label 0 is what "auto" is called where labels are made by themselves."""
    label = int(str(data.get("flowlabel", "0")), 16)
    found: dict[str, Any] = {
        "tos": "inherit" if data.get("ip6_tnl_f_use_orig_tclass") else int(str(data["tclass"]), 16),
        "flowlabel": "inherit" if data.get("ip6_tnl_f_use_orig_flowlabel") else label or "auto",
        "encaplimit": "none" if data.get("ip6_tnl_f_ign_encap_limit") else data["encap_limit"],
    }
    if "erspan_ver" in data:
        found |= {"erspan_ver": data["erspan_ver"]}
        renamed = {"erspan_index": "erspan", "erspan_dir": "erspan_dir", "erspan_hwid": "erspan_hwid"}
        found |= {ours: data[theirs] for theirs, ours in renamed.items() if theirs in data}
    return found


@dataclass(frozen=True)
class ConfigurationDifference:
    """What the two make of some parameters, where it is not the same: an error, or fields in force."""

    kind: str
    parameters: dict[str, Any]
    row: str
    reason: str
    kernel: Configured
    vdp: Configured


def configured_alike(
    kind: str,
    parameters: Mapping[str, Any],
    kernel: Configured,
    vdp: Configured,
    differences: Iterable[ConfigurationDifference],
) -> str:
    """ "" where they are, or are as `differences` says; else what is not."""
    found = [d for d in differences if (d.kind, d.parameters) == (kind, parameters)]
    for known in found:
        if not (_has(kernel, known.kernel) and _has(vdp, known.vdp)):
            return f"{known}: kernel {kernel}, vdp {vdp}"
    return "" if found else unlike(kernel, vdp)


def _has(configured: Configured, wanted: Configured) -> bool:
    if isinstance(configured, str) or isinstance(wanted, str):
        return configured == wanted
    return configured.items() >= wanted.items()


def unlike(one: Configured, other: Configured) -> str:
    """What the kernel says of its own and vdp does not say so; "" where nothing."""
    if isinstance(one, str) or isinstance(other, str):
        return "" if one == other else f"kernel {one}, vdp {other}"
    names = [name for name in one if one.get(name) != other.get(name)]
    return ", ".join(f"{name}: kernel {one.get(name)}, vdp {other.get(name)}" for name in names)
