"""What a configuration may say and still deserves a second look: `vdp check` warns, `vdp doctor` too.

`takes_anybody` is also what refuses a link that takes packets from whoever sends some, where
its configuration does not say that this is meant (checks.open_links_are_meant; VU#199397).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from vdp.config.faults import Fault
from vdp.config.problem import value_text

if TYPE_CHECKING:
    from vdp.config.model import Config


def takes_anybody(parameters: object) -> str:
    """The words by which a link takes packets from any source; "" for one with another end."""
    if getattr(parameters, "fallback", False):
        return "fallback"
    remote = getattr(parameters, "remote", None)
    if isinstance(remote, IPv4Address | IPv6Address) and remote.is_unspecified:
        return "remote any"
    return ""


def cautions(config: Config) -> Iterator[Fault]:
    """Each at its place, as a fault that refuses nothing."""
    for index, link in enumerate(config.links):
        why = takes_anybody(link.parameters)
        if why and not link.inner_allowed:
            yield Fault(
                ("link", index, "allow_any_remote"),
                "",
                "true",
                "name who may be inside with inner_allowed, or the other end with remote",
                f"{why}: whoever reaches {link.underlay} can send into what is behind link {link.name}",
                kind="open-tunnel",
            )
    host = config.metrics.listen.host
    if config.metrics.enabled and not _is_loopback(host):
        yield Fault(
            ("metrics", "listen"),
            "",
            str(config.metrics.listen),
            'listen = "127.0.0.1:9479", and a proxy with TLS and a password in front of it',
            "metrics and the status page are shown to everybody who reaches that address",
            kind="exposed",
        )
    if config.security.workers == "off":
        yield Fault(
            ("security", "workers"),
            "",
            '"off"',
            "take it away: refuse costs some nanoseconds for each system call",
            "the threads that read packets keep all capabilities and system calls",
            kind="exposed",
        )
    if "all" in config.security.capabilities:
        yield Fault(
            ("security", "capabilities"),
            "",
            value_text(config.security.capabilities),
            "name those that a plugin needs",
            "plugins run with every capability that vdp is started with",
            kind="exposed",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
