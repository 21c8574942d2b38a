"""docs/metrics.md, written from the catalogue: `python -m vdp.metrics.reference > docs/metrics.md`.

A test holds the page to what this prints.
"""

from __future__ import annotations

from vdp.metrics.catalogue import CATALOGUE

_HEAD = """\
# Metrics

`http://127.0.0.1:9479/metrics` (`[metrics] listen`) serves what is below, as Prometheus text or OpenMetrics,
and `process_*` and `python_gc_*` of the client library. `/-/ready` answers 200 when everything of the
configuration is set up, else 503.

A *frame* is what one read or write carries; it may be a super-packet. A *packet* is one on the wire. The port
label is a port's or, for the GRO cell of a link, the link's name. No label is taken from packets.

For every port:

    receive_frames + injected_frames + cloned_frames + gso_segments
      = forwarded_frames + consumed_frames + held_frames + drops before the output

`vdp_drops_total` has zeros for every reason of every port as long as that is at most 1,024 series, else for
the common reasons; a reason that has been met is always there.

| name | type | labels | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    rows = []
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
