"""Accounting by DSCP: what leaves by each port and link, in packets and bytes.  It only counts.

A stage of what is sent, behind those that cut: so what is counted is what goes out.  The engine
does the counting; for each class of a flow the stage is asked once.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field
from vdp.api import Datapath, Egress, Packet, hookimpl

from vdp_audit.dscp import NOT_IP, name_of, network_header

vdp_api = 1

#: Behind mtu (100) and offload (200).
PRIORITY = 800


class Settings(BaseModel):
    """The table [plugin.audit]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    egress: list[str] = Field(["*"], description="names of ports and links that count; * stands for anything")
    ingress: bool = Field(False, description="tell them apart by where they came in, too")


vdp_settings = Settings


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    settings = datapath.settings("audit", Settings)
    names = ("egress", "dscp", "ingress") if settings.ingress else ("egress", "dscp")
    sent = datapath.counters.family("audit", "sent", "What was sent, by DSCP and where it left.", names)

    def count(packet: Packet, egress: Egress) -> None:
        if not any(fnmatchcase(egress.name, pattern) for pattern in settings.egress):
            return
        ip, link_size = network_header(packet)
        labels = [egress.name, NOT_IP if ip is None else name_of(ip)]
        if settings.ingress:
            source = datapath.port_by_number(packet.in_port)
            labels.append(source.name if source is not None else "")
        packet.count((sent.labels(*labels), -link_size))

    datapath.pipeline.add(count, priority=PRIORITY, name="audit", owner="audit")
