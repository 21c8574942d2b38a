"""What an expression need not say, because the port and its links do: outer addresses, key, flags, MAC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vdp.engine.interface import PacketType
from vdp.expressions.layers import Made
from vdp.imaginary.mirror import links_over
from vdp.links.link import Link
from vdp.ports.port import Port
from vdp.protocols.gre import GreFlag

if TYPE_CHECKING:
    from vdp.datapath import Datapath

Values = Mapping[str, int | bytes | bool]
CARRIED = {"ip": 4, "ip6": 6}


class Ends:
    """Defaults of what comes in by one member: packets of the first of its links that fits what is said."""

    def __init__(self, datapath: Datapath, member: Port | Link) -> None:
        self._datapath = datapath
        self._member = member
        self._links = links_over(datapath, member) if isinstance(member, Port) else []

    def __call__(self, made: Sequence[Made], place: int) -> Values:
        layer = made[place]
        if layer.name == "eth":
            mac = getattr(self._member, "mac", None)
            return {"destination": mac} if place == 0 and mac else {}
        outer = next((at for at, each in enumerate(made) if each.name in CARRIED), None)
        if outer is None or place not in (outer, *self._tunnel(made, outer)):
            return {}
        link = self._link(made, outer)
        if link is None:
            return {}
        return self._addresses(link) if place == outer else self._options(link)

    @staticmethod
    def _tunnel(made: Sequence[Made], outer: int) -> list[int]:
        """Places of the tunnel's headers, right behind the outer IP header."""
        return [at for at in range(outer + 1, min(outer + 3, len(made))) if made[at].name == "gre"][:1]

    def _link(self, made: Sequence[Made], outer: int) -> Link | None:
        """The first that has the addresses and the key that were written, and carries what is inside."""
        tunnel = self._tunnel(made, outer)
        if not tunnel:
            return None
        gre, ip = made[tunnel[0]], made[outer]
        inside = made[tunnel[0] + 1].name if tunnel[0] + 1 < len(made) else ""
        best, score = None, -1
        for link in self._links:
            if link.kind.ip_version != CARRIED[ip.name]:
                continue
            ends, options = self._addresses(link), self._options(link)
            if any(
                name in ends and ends[name] != ip.values[name]
                for name in ip.given & {"source", "destination"}
            ):
                continue
            if "key" in gre.given and options.get("key") != gre.values["key"]:
                continue
            fits = int((link.packet_type is PacketType.L2) == (inside == "eth")) * 2 + int(link.up)
            if fits > score:
                best, score = link, fits
        return best

    @staticmethod
    def _addresses(link: Link) -> dict[str, Any]:
        """From its remote to its local, where it has them."""
        found = {}
        for name, field in (("remote", "source"), ("local", "destination")):
            address = getattr(link, name, None)
            if address is not None and int(address):
                found[field] = int(address)
        return found

    @staticmethod
    def _options(link: Link) -> dict[str, Any]:
        """What its received packets must have: key, checksum, and the number that it expects."""
        parameters: Any = link.parameters
        flags = getattr(parameters, "input_flags", GreFlag.NONE)
        found: dict[str, Any] = {}
        if flags & GreFlag.KEY:
            found["key"] = parameters.input_key or 0
        if flags & GreFlag.CSUM:
            found["csum"] = True
        if flags & GreFlag.SEQ:
            state = getattr(link, "input_sequence", None)
            found["seq"] = 0 if state is None else link.datapath.engine.read_state(state)
        return found
