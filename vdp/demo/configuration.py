"""The configurations of the two sides, as an operator would write them."""

from __future__ import annotations

from pathlib import Path

from vdp.demo.site import LEFT, RIGHT, UNDERLAY

#: Addresses of the hosts behind the tunnels, by side: frames, packets.
BEHIND = {LEFT: ("10.10.0.1", "10.20.0.1"), RIGHT: ("10.10.0.2", "10.20.0.2")}
#: Where redirected packets come out, and the service that a rule refuses.
CACHE, REFUSED_SERVICE = "10.30.0.1", 90

_BOTH = """\
# One side of the demo.  {netns} is a host of its own; vdp runs outside of it.

[[port]]                          # the underlay: frames of the cable
name = "underlay"
type = "raw"
interface = "eth0"
netns = "{netns}"

[[port]]
name = "tap0"
type = "tap"
netns = "{netns}"
address = ["{tap}/24"]
mtu = 1458

[[port]]
name = "tun0"
type = "tun"
netns = "{netns}"
address = ["{tun}/24"]
mtu = 1472

[[link]]                          # Ethernet over GRE, bridged to tap0
name = "gt0"
kind = "gretap"
local = "{local}"
remote = "{remote}"
underlay = "underlay"
key = 42

[[link]]                          # IP over GRE, behind tun0
name = "g0"
kind = "gre"
local = "{local}"
remote = "{remote}"
underlay = "underlay"
key = 7

[[bridge]]
name = "br0"
members = ["tap0", "gt0"]

[[connect]]
members = ["tun0", "g0"]

[metrics]
listen = "127.0.0.1:{metrics}"

[control]
socket = "{socket}"
"""
_CACHE = """
[[port]]                          # what a router redirects comes out here, as clients sent it
name = "cache"
type = "tun"
netns = "{netns}"
address = ["{cache}/24"]
mtu = 1472

[[link]]
name = "w0"
kind = "wccp"
local = "{local}"
remote = "{remote}"
underlay = "underlay"

[[connect]]
members = ["cache", "w0"]

[[rule]]                          # this service is not served here
priority = 100
match = {{ in_port = "w0", reg0 = "{service:#010x}/0x00ff0000" }}
actions = ["drop"]
"""


def configuration(side: str, socket: Path, metrics: int) -> str:
    """The TOML of one side.  metrics: a port of loopback."""
    other = RIGHT if side == LEFT else LEFT
    tap, tun = BEHIND[side]
    values = {
        "netns": side, "tap": tap, "tun": tun, "local": UNDERLAY[side], "remote": UNDERLAY[other],
        "socket": socket, "metrics": metrics, "cache": CACHE, "service": REFUSED_SERVICE << 16,
    }  # fmt: skip
    plugins = 'load = ["gre", "gretap"]'
    text = _BOTH
    if side == LEFT:
        plugins = 'load = ["gre", "gretap", "wccp"]'
        text += _CACHE
    return text.format(**values) + f"\n[plugins]\n{plugins}\n"
