"""`vdp demo`: two hosts, tunnels and traffic on this machine, a live view, and nothing left behind."""

from __future__ import annotations

import argparse
import contextlib
import io
import signal
import sys
import time
from typing import TYPE_CHECKING

from vdp.cli import exits
from vdp.cli.commands import complain
from vdp.cli.text import escaped, fancy, print_table, talk

if TYPE_CHECKING:
    from vdp.demo.run import Outcome, Side
    from vdp.demo.traffic import Traffic
    from vdp.status.history import History

INTERVAL_S = 1.0
#: Between two lines where there is no terminal to draw on.
LINE_S = 5.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so many; else with Ctrl-C")
    parser.add_argument("--no-view", action="store_true", help="only say where to look")
    parser.set_defaults(run=demo)


def demo(arguments: argparse.Namespace) -> int:
    """Show it; the exit code: whether each tunnel carried something."""
    from vdp.demo import DemoError, run

    def show(sides: dict[str, Side], traffic: Traffic) -> None:
        _where_to_look(sides, traffic)
        with contextlib.suppress(KeyboardInterrupt):
            _watch(sides, arguments.seconds, is_drawn=not arguments.no_view)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was made is taken away
    try:
        outcome = run(show)
    except DemoError as error:
        complain(str(error))
        return exits.FAILED
    _say(outcome)
    return exits.OK if outcome.is_good else exits.FAILED


def _where_to_look(sides: dict[str, Side], traffic: Traffic) -> None:
    from vdp.demo.site import LEFT, RIGHT

    left, right = sides[LEFT], sides[RIGHT]
    talk(
        f"""\
Two hosts, {LEFT} and {RIGHT}: gretap and gre tunnels between them, with TCP by {traffic.tool},
and a router that redirects packets with WCCP.  Look at them:

  status pages     {left.page} and {right.page}
  metrics          {left.page}metrics
  live             vdp top --socket {left.socket}
  what is dropped  vdp drop show --socket {left.socket}
  flows            vdp flow dump --explain --socket {left.socket}
  on the wire      ip netns exec {LEFT} tcpdump -ni eth0 proto gre
  configurations   {left.file}, {right.file}
"""
    )


def _watch(sides: dict[str, Side], seconds: float | None, *, is_drawn: bool) -> None:
    """Draw the left side until it is time, or somebody presses Ctrl-C, or it ends."""
    from vdp.control.errors import DaemonUnreachable
    from vdp.control.remote import RemoteView
    from vdp.demo.site import LEFT
    from vdp.status.history import History

    ends = None if seconds is None else time.monotonic() + seconds
    is_live = is_drawn and fancy(sys.stdout)
    history = History(RemoteView(str(sides[LEFT].socket)))
    while all(side.process.poll() is None for side in sides.values()):
        pause = INTERVAL_S if is_live else LINE_S
        if ends is not None:
            pause = min(pause, ends - time.monotonic())
            if pause <= 0:
                return
        time.sleep(pause)
        if not is_drawn:
            continue
        try:
            history.take()
        except DaemonUnreachable:
            return
        print(_drawing(history) if is_live else _line(history), flush=True)


def _line(history: History) -> str:
    from vdp.cli.top_tables import headline

    return headline(history)


def _drawing(history: History) -> str:
    """A screen full, from the top left corner."""
    from vdp.cli import top_tables

    out = io.StringIO()
    print(top_tables.headline(history), file=out)
    for severity, line in top_tables.wrong(history):
        print(f"{severity}: {escaped(line)}", file=out)
    for table in (top_tables.links(history), top_tables.ports(history), top_tables.drops(history)):
        print(file=out)
        if table.rows:
            print_table(table.heads, table.rows, out)
        else:
            print(table.empty, file=out)
    print("\nCtrl-C ends it and takes everything away", file=out)
    return "\x1b[H\x1b[J" + out.getvalue()


def _say(outcome: Outcome) -> None:
    words = {"gt0": "over gretap", "g0": "over gre", "w0": "redirected by the router"}
    moved = ", ".join(f"{outcome.received.get(name, 0):,} {text}" for name, text in words.items())
    talk(f"Packets that the left side received: {moved}.")
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(outcome.drops.items()))
    talk(f"Dropped: {dropped or 'none'}.  All that was made is gone.")
