"""What is wrong now, in sentences: what somebody who was just woken wants to read first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vdp.status.sample import Rates, Sample

#: A link that sends and has heard nothing for as long is likely to have lost its other end.
SILENT_S = 60.0
BUSY_MOST = 0.9
FULL = 0.8
PROBES_MOST = 16.0
#: For so long it is told that events of the kernel were lost, though all was made good at once.
LOST_S = 60.0
#: Drops that are meant: a rule, a protocol's own decision, an ICMP error that was heard and ends here.
MEANT = ("policy_", "icmp_error")

Severity = Literal["bad", "warning"]


@dataclass(frozen=True)
class Finding:
    """severity: bad, something does not work; warning, it may soon not.  command: where to look."""

    severity: Severity
    subject: str
    sentence: str
    command: str


def findings(
    now: Sample,
    found: Rates,
    heard: Mapping[str, float] | None = None,
    spoke: Mapping[str, float] | None = None,
) -> list[Finding]:
    """The worst first.

    heard, spoke: when links last received and sent, by the clock of the samples.
    """
    every = [
        *_whole(now, found),
        *_netlink(now),
        *_plugins(now),
        *_ports(now, found),
        *_links(now, heard or {}, spoke or {}),
        *_bridges(now),
        *_drops(now, found),
    ]
    return sorted(every, key=lambda finding: finding.severity != "bad")


def _whole(now: Sample, found: Rates) -> Iterator[Finding]:
    status = now.status
    if not status["ready"]:
        missing = ", ".join(status.get("missing", ()))
        sentence = f"It is not ready, this is missing: {missing}." if missing else "It starts, or stops."
        yield Finding("bad", "vdp", sentence, "vdp doctor")
    if not status["reloads"]["was_good"]:
        sentence = "The last reload was refused: what runs is the configuration before it."
        yield Finding("warning", "vdp", sentence, "vdp reload --dry-run")
    for worker, busy in found.workers.items():
        if busy > BUSY_MOST:
            sentence = f"It has work {busy:.0%} of the time: more packets will be lost."
            yield Finding("warning", f"worker {worker}", sentence, "vdp status")
    if refused := now.workers("calls_refused"):
        sentence = f"Its workers tried {refused:,} system calls that forwarding does not need: see its log."
        yield Finding("bad", "vdp", sentence, "vdp explain vdp_worker_refused_calls_total")
    limit, flows = status["flows"]["limit"], now.workers("flows")
    if limit and flows > FULL * limit:
        sentence = f"{flows:,} of {limit:,} flows: when it is full, the oldest go."
        yield Finding("warning", "flow table", sentence, "vdp flow dump")
    if found.probes is not None and found.probes > PROBES_MOST:
        sentence = f"A lookup tries {found.probes:.0f} masks: each costs some 30 ns a packet."
        yield Finding("warning", "flow table", sentence, "vdp flow dump")
    for step in status["overload"]["steps"]:
        if step["taken"]:
            sentence = f"There is too much to do ({step['step']}): {step['effect']}."
            yield Finding("warning", "overload", sentence, "vdp status")
    if found.upcalls_lost:
        sentence = (
            f"{found.upcalls_lost:,.0f} first packets of flows a second are lost: Python can not keep up."
        )
        yield Finding("bad", "slow path", sentence, "vdp drop show")


def _netlink(now: Sample) -> Iterator[Finding]:
    for heard in now.status["netlink"]:
        ago_s, netns = heard.get("lost_ago_s"), heard["netns"]
        if ago_s is None:
            continue
        subject = "netlink" if netns is None else f"netlink of {netns}"
        explain = "vdp explain vdp_netlink_overruns_total"
        if not heard.get("in_step", True):
            sentence = "Events of the kernel were lost: all is asked for again, and followed then."
            yield Finding("bad", subject, sentence, explain)
        elif ago_s < LOST_S:
            sentence = f"Events of the kernel were lost {ago_s:.0f} s ago: all was asked for again."
            yield Finding("warning", subject, sentence, explain)


def _plugins(now: Sample) -> Iterator[Finding]:
    for plugin in now.plugins:
        if plugin["state"] == "failed":
            yield Finding(
                "bad", f"plugin {plugin['name']}", f"It did not load: {plugin['error']}", "vdp plugin list"
            )
        for call in plugin["calls"]:
            if call["state"] == "quarantine":
                called = f"{call['kind']} {call['name']}"
                sentence = f"Its {called} failed too often and rests for a while: {call['last_error']}"
                enable = f"vdp plugin enable {plugin['name']}"
                yield Finding("bad", f"plugin {plugin['name']}", sentence, enable)
    for handler in now.handlers:
        if handler["state"] == "quarantine":
            left = handler["quarantine_left_s"]
            until = "" if left is None else f" for another {left:.0f} s"
            sentence = f"It failed too often and is passed over{until}: {handler['last_error']}"
            yield Finding(
                "bad", f"handler {handler['name']}", sentence, f"vdp handler enable {handler['name']}"
            )


def _ports(now: Sample, found: Rates) -> Iterator[Finding]:
    for name, port in now.ports.items():
        show = f"vdp port show {name}"
        trouble = port.get("trouble")
        if trouble:
            sentence = f"{trouble[0].upper()}{trouble[1:]}."
            yield Finding("warning" if port["up"] else "bad", f"port {name}", sentence, show)
        elif not port["up"]:
            yield Finding("bad", f"port {name}", f"It is down{_because(port['error'])}.", show)
        elif port["carrier"] is False:
            sentence = f"Its device {port['device']} has no carrier: it is set down, or its other end is."
            yield Finding("warning", f"port {name}", sentence, show)
        elif port["error"]:
            yield Finding("warning", f"port {name}", f"Its last error was {port['error']}.", show)
        if lost := found.kernel_drops.get(name):
            sentence = (
                f"The kernel loses {lost:,.0f} frames a second in front of it: vdp does not read fast enough."
            )
            yield Finding("bad", f"port {name}", sentence, show)


def _because(error: str | None) -> str:
    return f": {error}" if error else ""


def _links(now: Sample, heard: Mapping[str, float], spoke: Mapping[str, float]) -> Iterator[Finding]:
    for name, link in now.links.items():
        show = f"vdp link show {name}"
        if not link["up"]:
            yield Finding("warning", f"link {name}", "It is set down.", show)
        silent = now.at - heard[name] if name in heard else None
        speaks = name in spoke and now.at - spoke[name] < SILENT_S
        if speaks and silent is not None and silent >= SILENT_S:
            sentence = f"It sends, but has heard nothing from {link['remote']} for {silent / 60:.0f} min."
            yield Finding("bad", f"link {name}", sentence, show)
        if link["err_count"]:
            yield Finding("bad", f"link {name}", _unreachable(link["remote"], link.get("err_from")), show)


def _unreachable(remote: str | None, told_by: str | None) -> str:
    nobody = (
        "nobody takes the tunnel's packets there: is vdp running, do key and addresses match, "
        "does a filter refuse them?"
    )
    if told_by is None:  # of a daemon that does not say who
        return f"ICMP says that {remote} can not be reached (from the far host itself: {nobody})"
    if told_by == remote:
        return f"{remote} itself answers by ICMP: {nobody} Senders are told so."
    return f"{told_by} says by ICMP that {remote} can not be reached; senders are told so."


def _bridges(now: Sample) -> Iterator[Finding]:
    for row in now.status.get("held_macs", []):
        who = f"{row['mac']} moves" if row["count"] == 1 else f"{row['mac']} and {row['count'] - 1} more move"
        sentence = (
            f"{who} to and fro between members; it is held at {row['member']}. "
            "Are two members joined outside, or is it there twice?"
        )
        yield Finding("bad", f"bridge {row['bridge']}", sentence, "vdp bridge macs")


def _drops(now: Sample, found: Rates) -> Iterator[Finding]:
    for (port, reason), rate in sorted(found.drops.items(), key=lambda item: -item[1]):
        if rate > 0 and not reason.startswith(MEANT):
            text = now.drops[port, reason]["text"]
            many = f"{rate:,.0f} packets a second are" if rate >= 1 else "Packets are"
            severity: Severity = (
                "bad" if found.through.received and rate > 0.01 * found.through.received else "warning"
            )
            yield Finding(
                severity, f"port {port}", f"{many} dropped: {text} ({reason}).", f"vdp drop show {port}"
            )
