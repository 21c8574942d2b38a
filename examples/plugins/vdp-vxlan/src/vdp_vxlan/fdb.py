"""Which VTEP a MAC address is behind: the forwarding database of a link (Linux struct vxlan_fdb).

What is learned is learned when a flow's first packet is put to use, and stays as long as its
flows are hit.  A trace depends on what it was told of an address, under a tag that names
both, so that only flows to or from a station that moved are traced anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from vdp.api import Datapath, Packet

NS = 1_000_000_000
Tag = tuple[str, str, bytes, int | None]


@dataclass(slots=True)
class Entry:
    """The VTEP of an address, and when it was last heard (engine clock, ns); static ones never age."""

    vtep: int
    heard_ns: int = 0
    is_static: bool = False


class Fdb:
    """The database of one link; addresses of VTEPs are numbers, as headers have them."""

    def __init__(
        self, datapath: Datapath, link: str, static: Mapping[bytes, int], ageing_s: int, most: int
    ) -> None:
        self._datapath = datapath
        self._link = link
        self._ageing_ns = ageing_s * NS
        self._most = most + len(static)
        self.entries = {mac: Entry(vtep, is_static=True) for mac, vtep in static.items()}

    def vtep_of(self, packet: Packet, mac: bytes) -> int | None:
        """vxlan_find_mac: None where it is not known."""
        entry = self.entries.get(mac)
        vtep = entry.vtep if entry is not None else None
        packet.depends(self._tag(mac, vtep))
        return vtep

    def hear(self, packet: Packet, mac: bytes, vtep: int) -> bool:
        """vxlan_snoop: learn; False for a frame that can not be, whose packet is to be dropped."""
        if mac[0] & 1 or not any(mac):
            return False
        entry = self.entries.get(mac)
        before = entry.vtep if entry is not None else None
        tag = self._tag(mac, before)
        packet.depends(tag)
        if entry is not None and entry.is_static:
            return before == vtep
        if before not in (None, vtep):
            # It moved: nothing is cached before that is learned.
            packet.uncacheable()

        def commit() -> None:
            self._learn(mac, vtep)
            if mac in self.entries:  # the flow that taught it does not rest on what was before
                packet.depends(self._tag(mac, vtep), instead_of=tag)

        packet.on_commit(commit)
        packet.on_hit(partial(self._refresh, mac, vtep))
        return True

    def age(self) -> None:
        """vxlan_cleanup: forget who was silent for too long."""
        horizon = self._datapath.engine.clock() - self._ageing_ns
        silent = [
            mac for mac, entry in self.entries.items() if not entry.is_static and entry.heard_ns < horizon
        ]
        for mac in silent:
            self._datapath.invalidate(self._tag(mac, self.entries.pop(mac).vtep))

    def _learn(self, mac: bytes, vtep: int) -> None:
        now = self._datapath.engine.clock()
        entry = self.entries.get(mac)
        if entry is not None and entry.vtep == vtep:
            entry.heard_ns = now
        elif entry is not None or len(self.entries) < self._most:
            self._datapath.invalidate(self._tag(mac, entry.vtep if entry is not None else None))
            self.entries[mac] = Entry(vtep, now)

    def _refresh(self, mac: bytes, vtep: int, used_ns: int) -> None:
        entry = self.entries.get(mac)
        if entry is None:
            self._learn(mac, vtep)
        elif entry.vtep == vtep:
            entry.heard_ns = max(entry.heard_ns, used_ns)

    def _tag(self, mac: bytes, vtep: int | None) -> Tag:
        return ("vxlan", self._link, mac, vtep)
