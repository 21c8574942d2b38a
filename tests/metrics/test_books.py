"""The books of docs/metrics.md balance in a scrape, with mixed and broken packets and with faults."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from tests.engine.generate import packet
from tests.plane import L2, A, B
from vdp.config import load
from vdp.inspector import Inspector
from vdp.metrics.collector import DatapathCollector
from vdp.testing.builders import ethernet, gre, ipv4, tcp
from vdp.testing.dataplane import Dataplane

PACKETS = 3000


class Scrape:
    """Values of one scrape, by what is asked for in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.samples = [sample for family in registry.collect() for sample in family.samples]
        info = [sample.labels for sample in self.samples if sample.name == "vdp_port_info"]
        self.types = {labels["port"]: labels["type"] for labels in info}

    def sum(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found or name.startswith("vdp_gro"), name
        return sum(found)

    def check(self) -> None:
        """Every equation of the page, for every port and for all."""
        for port, kind in self.types.items():

            def frames(what: str, port: str = port) -> float:
                return self.sum(f"vdp_port_{what}_frames_total", port=port)

            def lost(direction: str, port: str = port) -> float:
                return self.sum("vdp_port_dropped_frames_total", port=port, direction=direction)

            came = sum(map(frames, ("receive", "injected", "cloned")))
            came += self.sum("vdp_gso_segments_total", port=port)
            became = frames("forwarded") + frames("consumed") + lost("receive")
            assert came == became + self.sum("vdp_port_held_frames", port=port), port
            left = frames("transmit")
            if kind == "gro-cell":
                left = frames("receive") + self.sum("vdp_gro_merged_frames_total", port=port)
            left += self.sum("vdp_port_transmit_queue_frames", port=port)
            assert frames("offered") == left + lost("transmit"), port
            dropped = self.sum("vdp_drops_total", port=port)
            assert dropped == lost("receive") + lost("transmit"), port
        assert self.sum("vdp_port_forwarded_frames_total") == self.sum("vdp_port_offered_frames_total")


@pytest.mark.conformance("J")
def test_a_scrape_accounts_for_every_packet(tmp_path: Path) -> None:
    random = Random(7)
    path = tmp_path / "vdp.toml"
    path.write_text("")
    with Dataplane(plugins=("gre", "gretap", "wccp")) as plane:
        registry = CollectorRegistry()
        registry.register(DatapathCollector(Inspector(plane.datapath, load(path, lambda section: {}))))
        for name in ("underlay", "lan", "other"):
            plane.port(name, L2)
        plane.link("gt0", "gretap", local=A, remote=B, key=7)
        plane.bridge("br0", "lan", "other", "gt0")
        sent = 0
        for number in range(PACKETS // 10):
            into = random.choice(["underlay", "lan"])
            if random.random() < 0.3:
                plane.arrive(into, *good(random, into))
                sent += 8
            else:
                for _ in range(8):
                    spoilt = packet(random, L2, 1)
                    plane.arrive(into, spoilt.data, offload=spoilt.offload)
                    sent += 1
            plane.datapath.engine.set_port_up(plane.datapath.number_of("other"), number % 40 < 30)
            plane.settle()
            for port in ("underlay", "lan", "other"):
                plane.received(port)
            if number % 25 == 0:
                Scrape(registry).check()
        found = Scrape(registry)
        found.check()
        devices = [port for port, kind in found.types.items() if kind == "memory"]
        assert sum(found.sum("vdp_port_receive_frames_total", port=port) for port in devices) == sent
        for name in ("vdp_gro_merged_frames_total", "vdp_gso_segments_total", "vdp_port_cloned_frames_total"):
            assert found.sum(name) > 0, name
        lost = {
            sample.labels["reason"]
            for sample in found.samples
            if sample.name == "vdp_drops_total" and sample.value
        }
        assert {"port_down", "tunnel_no_link", "parse_truncated"} <= lost, lost


def good(random: Random, into: str) -> list[bytes]:
    """Eight segments of a TCP stream, from the bridge's side, or through the tunnel."""
    first = random.getrandbits(31)
    frames = [
        ethernet(
            ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, bytes(100), seq=first + 100 * n), id=n),
            to="02:00:00:00:00:0a",
        )
        for n in range(8)
    ]
    if into == "lan":
        return frames
    key = random.choice([7, 7, 7, 8])
    return [ethernet(ipv4(B, A, gre(frame, 0x6558, key=key), protocol=47)) for frame in frames]
