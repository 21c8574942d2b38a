"""The status page: one document, drawn here from the samples, so that it says the same without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from socket import gethostname
from xml.etree.ElementTree import Element

from vdp.status.charts import bar, line
from vdp.status.findings import FULL, Finding
from vdp.status.history import DEPTH, INTERVAL_S, History
from vdp.status.html import Child, e, text_of
from vdp.status.sample import NOTHING, Flow, is_outside
from vdp.status.words import ago, bits, rate, short

#: Rows of a table; who has more of something asks the command line.
ROWS_MOST = 50
MINUTES = round(DEPTH * INTERVAL_S / 60)


def render(history: History) -> str:
    """The whole page."""
    found = history.findings()
    body = [
        _head(history, found),
        e(
            "main",
            _wrong(found),
            _tiles(history),
            _links(history),
            _ports(history),
            e("div", _drops(history), _cache(history), class_="pair"),
            _handlers(history),
        ),
        _foot(history),
    ]
    title = f"{gethostname()}: {_verdict(found)}"
    return text_of(
        e(
            "html",
            e(
                "head",
                e("meta", charset="utf-8"),
                e("meta", name="viewport", content="width=device-width, initial-scale=1"),
                e("meta", name="color-scheme", content="light dark"),
                e("title", f"vdp on {title}"),
                e("link", rel="icon", href="data:,"),
                e("link", rel="stylesheet", href="status.css"),
                e("script", src="status.js", defer="defer"),
                e("noscript", e("meta", http_equiv="refresh", content="5")),
            ),
            e("body", body),
            lang="en",
        )
    )


def _verdict(found: Sequence[Finding]) -> str:
    if not found:
        return "all is well"
    return f"{len(found)} {'thing wants' if len(found) == 1 else 'things want'} a look"


def _worst(found: Sequence[Finding]) -> str:
    return found[0].severity if found else "good"


def _head(history: History, found: Sequence[Finding]) -> Element:
    status = history.now.status
    facts = [f"version {status['version']}", f"up {ago(status['uptime_s'])}", f"pid {status['pid']}"]
    return e(
        "header",
        e("h1", "vdp ", e("span", gethostname(), class_="host")),
        e("p", e("span", _verdict(found), class_=f"badge {_worst(found)}")),
        e("p", " · ".join(facts), " · ", e("code", status["config"]), class_="facts"),
        id="head",
    )


def _wrong(found: Sequence[Finding]) -> Element:
    if not found:
        said: Child = e("p", "Nothing is wrong that vdp can see.", class_="empty")
    else:
        said = e(
            "ul",
            (
                e(
                    "li",
                    e("strong", finding.subject),
                    " ",
                    e("span", finding.sentence),
                    " ",
                    e("code", finding.command),
                    class_=finding.severity,
                )
                for finding in found[:ROWS_MOST]
            ),
            class_="wrong",
        )
    return _section("wrong", "What is wrong now", said)


def _tiles(history: History) -> Element:
    found, moments = history.rates, history.moments

    def tile(
        name: str, value: str, more: str, values: list[float], tone: str = "calm", most: float | None = None
    ) -> Element:
        label = f"{name}, the last {MINUTES} minutes"
        return e(
            "div", e("h3", name), e("p", value, class_="value"), e("p", more, class_="more"),
            line(values, label, tone, most), class_="tile",
        )  # fmt: skip

    through = found.through
    lost = "bad" if found.dropped else "calm"
    return e(
        "section",
        tile("Received", rate(through.received), bits(through.received_bytes),
             [m.through.received for m in moments]),
        tile("Sent", rate(through.sent), bits(through.sent_bytes), [m.through.sent for m in moments]),
        tile("Dropped", rate(found.dropped), f"{short(history.now.dropped)} since the start",
             [m.dropped for m in moments], lost),
        tile("Upcalls", rate(found.upcalls), "packets that Python decides about",
             [m.upcalls for m in moments]),
        tile("Busiest worker", f"{found.busy:.0%}", _workers(history), [m.busy for m in moments], most=1.0),
        class_="tiles", id="tiles",
    )  # fmt: skip


def _workers(history: History) -> str:
    number = len(history.now.status["workers"])
    return f"of {number} worker" + "s" * (number != 1)


# -- tables ------------------------------------------------------------------------------------

Row = tuple[list[Child], str]


def _table(heads: Sequence[str], rows: Sequence[list[Child]], what: str, command: str) -> list[Child]:
    """Numbers stand right: a head that ends with ">" says so."""
    if not rows:
        return [e("p", what, class_="empty")]
    sides = ["number" if head.endswith(">") else None for head in heads]
    table = e(
        "table",
        e(
            "thead",
            e(
                "tr",
                (e("th", h.rstrip(">"), class_=s, scope="col") for h, s in zip(heads, sides, strict=True)),
            ),
        ),
        e(
            "tbody",
            (
                e("tr", (e("td", cell, class_=side) for cell, side in zip(row, sides, strict=True)))
                for row in rows[:ROWS_MOST]
            ),
        ),
    )
    found: list[Child] = [e("div", table, class_="wide")]
    if len(rows) > ROWS_MOST:
        found.append(e("p", f"and {len(rows) - ROWS_MOST:,} more: ", e("code", command), class_="empty"))
    return found


def _section(name: str, title: str, *children: Child) -> Element:
    return e("section", e("h2", title), children, id=name)


def _state(up: bool, error: str | None = None) -> Element:
    tone, word = ("bad", "down") if not up else ("warning", "error") if error else ("good", "up")
    return e("span", word, class_=f"state {tone}", title=error or None)


def _lines(flows: Iterable[Flow], pick: Callable[[Flow], float], label: str) -> Element:
    return line([pick(flow) for flow in flows], label)


def _links(history: History) -> Element:
    now, found = history.now, history.rates
    by_rate = sorted(now.links.values(), key=lambda r: -sum(found.links.get(r["name"], NOTHING)[::2]))
    rows: list[list[Child]] = []
    for row in by_rate:
        name = row["name"]
        flow = found.links.get(name, NOTHING)
        lines = history.links.get(name, ())
        errors = row["counters"].get("rx_errors", 0) + row["counters"].get("tx_errors", 0)
        heard = ago(now.at - history.heard[name]) + " ago" if name in history.heard else "not yet"
        rows.append(
            [
                [e("strong", name), " ", _state(row["up"])],
                row["kind"],
                f"{row['local'] or 'any'} → {row['remote'] or 'any'}",
                "–" if row["ikey"] is None else str(row["ikey"]),
                str(row["mtu"]),
                [bits(flow.received_bytes), e("small", rate(flow.received))],
                [bits(flow.sent_bytes), e("small", rate(flow.sent))],
                _lines(lines, lambda flow: flow.received_bytes + flow.sent_bytes, f"{name}, both ways"),
                heard if not flow.received else "now",
                short(errors),
            ]
        )
    heads = (
        "Link",
        "Kind",
        "From → to",
        "Key>",
        "MTU>",
        "Received>",
        "Sent>",
        f"{MINUTES} minutes",
        "Heard",
        "Errors>",
    )
    return _section("links", "Links", _table(heads, rows, "There are no links.", "vdp link show"))


def _ports(history: History) -> Element:
    now, found = history.now, history.rates
    rows: list[list[Child]] = []
    outside = [row for row in now.ports.values() if is_outside(row)]
    for row in sorted(outside, key=lambda r: -sum(found.ports.get(r["name"], NOTHING)[::2])):
        name = row["name"]
        flow = found.ports.get(name, NOTHING)
        dropped = sum(value for (port, _), value in found.drops.items() if port == name)
        rows.append(
            [
                [e("strong", name), " ", _state(row["up"], row["error"])],
                row["type"],
                row["device"] if row["device"] not in (None, name) else "–",
                str(row["mtu"]),
                [bits(flow.received_bytes), e("small", rate(flow.received))],
                [bits(flow.sent_bytes), e("small", rate(flow.sent))],
                _lines(
                    history.ports.get(name, ()),
                    lambda f: f.received_bytes + f.sent_bytes,
                    f"{name}, both ways",
                ),
                rate(dropped),
                short(row["kernel_drops"]),
            ]
        )
    heads = (
        "Port",
        "Type",
        "Device",
        "MTU>",
        "Received>",
        "Sent>",
        f"{MINUTES} minutes",
        "Dropped>",
        "Lost by kernel>",
    )
    return _section("ports", "Ports", _table(heads, rows, "There are no ports.", "vdp port show"))


def _drops(history: History) -> Element:
    now, found = history.now, history.rates
    most = max((row["packets"] for row in now.drops.values()), default=0)
    rows: list[list[Child]] = []
    for key, row in sorted(now.drops.items(), key=lambda i: (-found.drops.get(i[0], 0), -i[1]["packets"])):
        at_once = found.drops.get(key, 0)
        rows.append(
            [
                [e("strong", row["reason"]), e("small", row["text"])],
                row["port"],
                rate(at_once),
                [short(row["packets"]), bar(row["packets"] / most, "bad" if at_once else "calm")],
            ]
        )
    heads = ("Why", "Came in by", "Now>", "Since the start>")
    return _section("drops", "Dropped", _table(heads, rows, "Nothing was dropped.", "vdp drop show"))


def _cache(history: History) -> Element:
    now, found = history.now, history.rates
    limit, flows = now.status["flows"]["limit"], now.workers("flows")
    evictions = now.status["flows"]["evictions"]
    full = flows / limit if limit else 0.0
    facts: list[tuple[str, Child]] = [
        ("Taken by a known flow", "–" if found.hit_ratio is None else _per_cent(found.hit_ratio)),
        ("Masks tried by a lookup", "–" if found.probes is None else f"{found.probes:.2f}"),
        ("Masks", short(now.workers("masks"))),
        ("Flows", [f"{flows:,} of {limit:,}", bar(full, "bad" if full > FULL else "calm")]),
        *((f"Removed: {why}", short(number)) for why, number in evictions.items()),
        ("Decided by Python", f"{now.upcalls:,}"),
        ("Lost on the way there", f"{now.workers('upcalls_lost'):,}"),
        *((f"Worker {worker}", _share(busy)) for worker, busy in found.workers.items()),
    ]
    listed = e("dl", ((e("dt", name), e("dd", value)) for name, value in facts))
    return _section("cache", "Flow cache", listed)


def _share(part: float) -> list[Child]:
    return [f"{part:.0%}", bar(part)]


def _per_cent(ratio: float) -> str:
    return f"{ratio:.2%}" if 0.99 < ratio < 1 else f"{ratio:.0%}"


def _handlers(history: History) -> Element:
    rows: list[list[Child]] = []
    for row in history.now.handlers:
        verdicts = row["verdicts"]
        failed = verdicts["error"] + verdicts["timeout"]
        tone = {"asked": "good", "quarantine": "bad", "disabled": "warning"}[row["state"]]
        rows.append(
            [
                f"{row['list']}/{row['priority']}",
                [e("strong", row["name"]), " ", e("span", row["state"], class_=f"state {tone}")],
                row["plugin"],
                *(short(verdicts[name]) for name in ("received", "reject", "drop")),
                short(failed),
                f"{row['seconds']:.2f} s",
                row["last_error"] or "–",
            ]
        )
    heads = (
        "Place",
        "Handler",
        "Plugin",
        "Received>",
        "Rejected>",
        "Dropped>",
        "Failed>",
        "Time in Python>",
        "Last error",
    )
    shown = _table(heads, rows, "There are no handlers.", "vdp handler list")
    note = "Packets by verdict, those that the engine took by a known flow included."
    return _section("handlers", "Handlers", e("p", note, class_="note"), shown)


def _foot(history: History) -> Element:
    links = (e("a", "metrics", href="metrics"), " · ", e("a", "ready", href="-/ready"))
    return e(
        "footer",
        e("p", links, " · ", e("code", f"vdp --socket {history.now.status['control']} …")),
        id="foot",
    )
