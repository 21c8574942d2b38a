"""GRE keepalives: a packet that the other end of a tunnel sends back, as Cisco routers do.

    to the peer     IP(us > peer)  GRE(0x0800, key)  IP(peer > us)  GRE(0, key)
    and back        IP(peer > us)  GRE(0, key)

The peer takes the outer headers off and forwards what was in them; it need not know of
keepalives.  Nothing of this is done unless the table [plugin.keepalive] says so for a
link, in particular nobody's packets are reflected:

    [plugin.keepalive.link.gre1]
    send = true         # probe the peer; the link is down while it does not answer
    respond = true      # send the peer's probes back

What comes back has 4 bytes behind its IP header, 8 with a key: less than gre_rcv takes,
so that it is looked at before (list "gre_before"), and ends here as plugin_keepalive_answer.
Answered are packets of the outer ones' family whose addresses are theirs exchanged, with
GRE of protocol 0 inside: also behind Huawei's outer protocol 0x0004, and with MikroTik's
inner protocol 0x86DD where nothing follows it.  Others (addresses inside the tunnel, as
some send them) are payload, and go where the routes say.  Links are point-to-point ones
of a layer-3 kind (gre, ip6gre); over IPv6 probes are answered and none are sent, because
such a link refuses packets with its peer's source address (ip6_tnl_addr_conflict).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vdp.api import Datapath, hookimpl
from vdp_keepalive.receive import Receiver
from vdp_keepalive.send import Sender
from vdp_keepalive.watch import Settings, Watches, can_be_probed, carries_ip

vdp_api = 1
vdp_settings = Settings

#: Before every decoder of payloads.
PRIORITY = 50
#: Answers are looked for this often, and probes sent when they are due.
TICK_S = 1.0


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {"answer": "not lost: a keepalive of ours that came back, which ends here"}


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    watches = Watches(datapath, datapath.settings("keepalive", Settings))
    if not list(watches):
        return
    receiver = Receiver(datapath, watches)
    registry = datapath.registry
    registry.list("gre_before").add(
        receiver.answer, priority=PRIORITY, name="keepalive_answer", owner="keepalive"
    )
    for handlers in ("gre_cisco", "ip6gre"):
        registry.list(handlers).add(
            receiver.probe, priority=PRIORITY, name="keepalive_probe", owner="keepalive"
        )
    datapath.every(TICK_S, Sender(datapath, watches).tick)


@hookimpl
def vdp_start(datapath: Datapath) -> None:
    """Say what can not be done; the rest is done."""
    for name, options in datapath.settings("keepalive", Settings).link.items():
        link = datapath.links.get(name)
        if link is None:
            problem = "there is no such link"
        elif not carries_ip(link):
            problem = f"a link of kind {link.kind.name} has no keepalives: it does not carry IP packets"
        elif options.send and not can_be_probed(link):
            problem = "probes need a link over IPv4, with local and remote"
        else:
            continue
        logging.getLogger(__name__).error("plugin keepalive: %s: %s", name, problem)
