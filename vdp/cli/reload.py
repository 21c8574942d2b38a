"""`vdp reload`: have the daemon read its configuration anew, or say what that would mean."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vdp.cli import exits
from vdp.cli.commands import complain, refused, socket_path
from vdp.cli.options import add_config, add_json, add_socket
from vdp.cli.text import escaped, talk
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable

#: Many links may have to be made anew.
TIMEOUT_S = 300.0
_CODES = {"invalid": exits.CONFIG, "refused": exits.FAILED, "failed": exits.FAILED}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print the plan, change nothing")
    add_config(
        parser, "configuration that names the daemon's socket; it reads the file that it was started with"
    )
    add_json(parser)
    add_socket(parser)
    parser.set_defaults(run=reload)


def reload(arguments: argparse.Namespace) -> int:
    """Ask for it, and print the plan and what came of it; the exit code."""
    try:
        answer = call(socket_path(arguments), "reload", {"dry_run": arguments.dry_run}, TIMEOUT_S)
    except (ControlError, DaemonUnreachable) as error:
        return refused(error)
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json(answer, sys.stdout)
    else:
        _print(answer)
    return _CODES.get(answer["result"], exits.OK)


def _print(answer: dict[str, Any]) -> None:
    for change in answer["changes"]:
        text = f": {change['text']}" if change["text"] else ""
        print(escaped(f"{change['sign']} {change['what']} {change['name']}{text}"))
    kept = [f"{count} {what}{'s' if count > 1 else ''}" for what, count in answer["kept"].items() if count]
    if kept:
        print(f"= {', '.join(kept)}")
    sys.stdout.flush()
    for problem in answer["problems"]:
        talk("\n".join(map(escaped, problem["text"].splitlines())))
    for note in answer["notes"]:
        talk(f"vdp: warning: {escaped(note)}")
    _say(answer)


def _say(answer: dict[str, Any]) -> None:
    """What came of it, in a sentence."""
    result, path, count = answer["result"], escaped(answer["config"]), len(answer["changes"])
    changes = f"{count} change{'' if count == 1 else 's'}"
    if result in ("invalid", "refused"):
        problems = len(answer["problems"])
        talk(f"{path}: {problems} problem{'' if problems == 1 else 's'}, nothing is changed")
    elif result == "planned":
        talk(f"{path}: {changes} to be made; this was a dry run")
    elif result == "unchanged":
        talk(f"{path}: as it runs")
    elif result == "applied":
        talk(f"{path}: {changes} made")
    else:
        _say_failed(answer)


def _say_failed(answer: dict[str, Any]) -> None:
    for act in answer["acts"]:
        why = f": {act['why']}" if act["why"] else ""
        talk(escaped(f"  {act['state']}: {act['act']}{why}"))
    failed = next(act for act in answer["acts"] if act["state"] == "failed")
    left = [act["act"] for act in answer["acts"] if act["state"] == "not undone"]
    hint = "all is as it was"
    if left:
        hint = f"not undone: {'; '.join(left)}. What runs differs from the file: mend it and reload again"
    complain(failed["why"], hint)
