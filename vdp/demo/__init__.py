"""`vdp demo`: two hosts on one machine, joined by tunnels, with traffic, to look at vdp with.

                left (a namespace)                         right (another)
    tap0 10.10.0.1 ─ br0 ─ gt0 ══ gretap, key 42 ══ gt0 ─ br0 ─ tap0 10.10.0.2
    tun0 10.20.0.1 ─────── g0  ══ gre, key 7 ══════ g0 ─────── tun0 10.20.0.2
    cache 10.30.0.1 ────── w0  <══ WCCP ═════════════ a router's redirected packets
                      eth0 192.0.2.1 ─── cable ─── eth0 192.0.2.2

One vdp serves each side, from the namespace of who started it: so its metrics and its status
page can be looked at with a browser.
"""

from vdp.demo.run import run
from vdp.demo.site import DemoError

__all__ = ["DemoError", "run"]
