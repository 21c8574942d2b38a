"""docs/metrics.md, written from the catalogue: `python -m vdp.metrics.reference > docs/metrics.md`.

A test holds the page to what this prints.
"""

from __future__ import annotations

from vdp.metrics.catalogue import CATALOGUE

_HEAD = """\
# Metrics

`http://127.0.0.1:9479/metrics` (`[metrics] listen`) serves what is below, as Prometheus text or OpenMetrics,
and `process_*` and `python_gc_*` of the client library. `/-/ready` answers 200 when vdp is
[ready](operating.md#ready), else 503 with what is missing.

A *frame* is what one read or write carries; it may be a super-packet. A *packet* is one on the wire. The port
label is a port's or, for the GRO cell of a link, the link's name. No label is taken from packets.

## The books

Every frame is counted once, and charged to the port that it came in by until an output takes it, then to that
port. When nothing moves, these are exact; each name stands for its `vdp_port_…_total`, others as they are.

For every port, what came in and what became of it:

    receive_frames + injected_frames + cloned_frames + vdp_gso_segments_total
      = forwarded_frames + consumed_frames + vdp_port_held_frames + dropped_frames{direction="receive"}

For every port, what was output to it and what became of that; the second one for the GRO cell of a link:

    offered_frames = transmit_frames + dropped_frames{direction="transmit"} + vdp_port_transmit_queue_frames
    offered_frames = receive_frames + vdp_gro_merged_frames_total + dropped_frames{direction="transmit"}
                     + vdp_port_transmit_queue_frames

For every port, the reasons: `sum(vdp_drops_total)` is `sum(vdp_port_dropped_frames_total)`. For all ports,
`sum(vdp_port_forwarded_frames_total)` is `sum(vdp_port_offered_frames_total)`, as long as none is taken away.
What was sent to a port's device is its `receive_frames + vdp_port_kernel_drops_total`.

`python -m bench books` sends ten million mixed, broken and dropped frames through the engine while a port
goes down and queues run full; the difference is 0 ([performance](performance.md#books)).

## Where to look

| question | where |
| --- | --- |
{questions}
## Families

`vdp_drops_total` has zeros for every reason of every port as long as that is at most 1,024 series, else for
the common reasons; a reason that has been met is always there.

Plugins have counters of their own beside these: `vdp_plugin_NAME_COUNTER_packets_total` and `…_bytes_total`,
with labels that the plugin's page explains; a series is there once something was to be counted by it.
`vdp plugin info NAME` shows them, too.

| name | type | labels | meaning |
| --- | --- | --- | --- |
"""

#: What is asked for, and the expression that says it.
_QUESTIONS = {
    "upcalls lost, by port and reason": 'vdp_drops_total{reason=~"upcall_queue_full|upcall_rate"}',
    "wrong checksums, by layer": 'vdp_drops_total{reason=~"ip_checksum|l4_checksum|tunnel_checksum.*"}',
    "old sequence numbers, and missing ones": 'vdp_link_errors_total{kind="rx_fifo"}',
    "congestion marks that can not be passed on": 'vdp_link_errors_total{kind="rx_frame"}',
    "wire packets in a super-packet": "rate(vdp_gro_segments_total[5m]) / rate(vdp_gro_frames_total[5m])",
    "lookups in a round of a worker": "sum(rate(vdp_flow_lookups_total[5m])) / "
    "sum(rate(vdp_worker_iterations_total[5m]))",
    "for how long a link has heard nothing": "time() - vdp_link_last_receive_timestamp_seconds",
    "how long a scrape takes": "scrape_duration_seconds",
}


def page() -> str:
    """The whole page."""
    rows = []
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |\n")
    questions = "".join(f"| {asked} | `{where}` |\n" for asked, where in _questions())
    return _HEAD.replace("{questions}", questions) + "".join(rows)


def _questions() -> list[tuple[str, str]]:
    """As a Markdown table has them."""
    return [(asked, where.replace("|", r"\|")) for asked, where in _QUESTIONS.items()]


if __name__ == "__main__":
    print(page(), end="")
