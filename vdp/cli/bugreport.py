"""`vdp bugreport`: what somebody needs who is to find a fault elsewhere, in one archive, without secrets.

Keys of tunnels and what is named like a secret are taken out: of the configuration, of the daemon's
rows, and of the guards of flows, which hold them as bytes.  Addresses stay in: faults are seldom
understood without them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from vdp.cli import exits
from vdp.cli.commands import SocketUnknown, complain, socket_path
from vdp.cli.options import add_config, add_socket
from vdp.cli.text import talk
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable

METHODS = (
    "status", "finding.list", "port.show", "link.show", "flow.dump",
    "handler.list", "plugin.list", "drop.show", "bridge.show", "bridge.macs", "route.show", "perf.show",
)  # fmt: skip
#: Entries of one list that are taken: a full flow table would be hundreds of megabytes.
MOST_ROWS = 500
LOG_LINES = 1000
REDACTED = "REDACTED"
_NAMES = "key|secret|password|passphrase|token|community"
SECRET = re.compile(rf"(?:^|[._-])[io]?(?:{_NAMES})$", re.IGNORECASE)
#: A secret of a configuration: what names it; then a text of any of TOML's kinds, a list, or a bare value.
_LINE = re.compile(
    rf"""([\w"'-]*?(?:{_NAMES})["']?\s*=\s*)"""
    r"""(\"""[\s\S]*?\"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\[[^\]]*\]|[^,}\]#\n]+)""",
    re.I,
)
#: A secret that a line of text names: nobody knows where its value ends.
_SAID = re.compile(rf"((?:\b|_)[io]?(?:{_NAMES})\b)\W.*", re.I)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="archive to write (vdp-bugreport-TIME.tar.gz)"
    )
    add_config(parser, "configuration to put in, if no daemon runs")
    add_socket(parser)
    parser.set_defaults(run=bugreport)


def bugreport(arguments: argparse.Namespace) -> int:
    """Write the archive, and say what is in it; the exit code."""
    target = arguments.output or Path(time.strftime("vdp-bugreport-%Y%m%d-%H%M%S.tar.gz"))
    if target.exists():
        complain(f"{target} is there already", "vdp bugreport -o ANOTHER")
        return exits.FAILED
    try:
        socket = socket_path(arguments)
    except SocketUnknown:  # a file that can not be read may be what is to be reported
        socket = socket_path(argparse.Namespace(config=None))
    files = collected(socket, arguments.config)
    try:
        _write(target, files)
    except OSError as error:
        complain(f"{target} can not be written: {error.strerror}", "vdp bugreport -o FILE")
        return exits.FAILED
    for name, text in files.items():
        print(f"{len(text.encode()):>9}  {name}")
    sys.stdout.flush()
    talk(
        f"vdp: {target} is written; keys and secrets are taken out, addresses and names are not: look "
        "before you send it"
    )
    return exits.OK


def collected(socket: str, config: Path | None) -> dict[str, str]:
    """The files of the archive, by name."""
    from vdp.doctor.daemon import running

    files = {"versions.txt": _versions()}
    answers: dict[str, Any] = {}
    for method in METHODS:
        try:
            answers[method] = call(socket, method, {"limit": MOST_ROWS} if method == "flow.dump" else {})
        except ControlError as error:  # an older daemon has not all of them
            files["daemon.txt"] = f"{files.get('daemon.txt', '')}{method}: {error}\n"
        except DaemonUnreachable as error:
            files["daemon.txt"] = f"{method}: {error}\n"
            break
    found = running(socket)
    if config is None and found is not None:
        config = found.config
    texts = _configuration(config) if config else {}
    secrets = _secrets(answers)
    for name, text in texts.items():
        secrets |= {value.strip(" \"'") for _, value in _LINE.findall(text)}
        files[name] = _LINE.sub(_redacted, text)
    spellings = _spellings(secrets)
    for method, answer in answers.items():
        rows = answer[:MOST_ROWS] if isinstance(answer, list) else answer
        files[f"{method}.json"] = json.dumps(without(rows, spellings), indent=1) + "\n"
    files["doctor.json"] = json.dumps(without(_doctor(socket, config), spellings), indent=1) + "\n"
    log = _log()
    if log:
        lines = [without(_SAID.sub(rf"\1 {REDACTED}", line), spellings) for line in log.splitlines()]
        files["log.txt"] = "\n".join([*lines, ""])
    return files


def _redacted(found: re.Match[str]) -> str:
    """The lines behind it keep their numbers."""
    return f'{found[1]}"{REDACTED}"' + "\n" * found[2].count("\n")


def without(part: Any, spellings: set[str]) -> Any:
    """JSON data without the values of secret keys, and without their bytes wherever else they are."""
    if isinstance(part, dict):
        return {
            key: REDACTED if SECRET.search(key) and each is not None else without(each, spellings)
            for key, each in part.items()
        }
    if isinstance(part, list):
        return [without(each, spellings) for each in part]
    if isinstance(part, str) and any(spelling in part for spelling in spellings):
        return REDACTED
    return part


def _secrets(part: Any) -> set[str]:
    """The values of all secret keys in it."""
    if isinstance(part, list):
        return set().union(*map(_secrets, part)) if part else set()
    if not isinstance(part, dict):
        return set()
    own = {str(each) for key, each in part.items() if SECRET.search(key) and each is not None}
    # A guard of a flow: maybe of a key that is no more in force.
    if SECRET.search(str(part.get("field", ""))):
        own.add(str(part.get("value")))
    return own.union(*map(_secrets, part.values())) if part else own


def _spellings(secrets: set[str]) -> set[str]:
    """How they may be written: a key as the eight hexadecimal digits of a guard; long ones as they are."""
    found = {secret for secret in secrets if len(secret) >= 8}
    return found | {
        f"{int(secret):08x}" for secret in secrets if secret.isdecimal() and int(secret) < 1 << 32
    }


def _versions() -> str:
    packages = sorted(f"{each.metadata['Name']} {each.version}" for each in distributions())
    return "\n".join([platform.platform(), f"Python {sys.version}", *packages, ""])


def _configuration(config: Path) -> dict[str, str]:
    """The text of the configuration, and of the files that it includes, by their names in the archive."""
    from vdp.config import ConfigError
    from vdp.config.include import gather

    try:
        included = gather(config).files[1:]
    except ConfigError:
        included = ()
    names = {f"include/{number}-{file.name}": file for number, file in enumerate(included, 1)}
    return {name: _read(file) for name, file in ({"vdp.toml": config} | names).items()}


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError as error:
        return f"# {file}: {error.strerror}\n"


def _doctor(socket: str, config: Path | None) -> list[dict[str, str]]:
    from vdp.cli.doctor import examined
    from vdp.doctor.daemon import daemon, running
    from vdp.doctor.environment import environment
    from vdp.doctor.machine import Machine

    machine = Machine()
    results = [*environment(machine), *daemon(socket, expected=config is None)]
    if config is not None:
        results += examined(config, machine, running(socket))
    return [each.as_json() for each in results]


def _log() -> str:
    """The service's own lines, where systemd keeps them."""
    journal = shutil.which("journalctl")
    if journal is None:
        return ""
    command = [journal, "--unit", "vdp", "--lines", str(LOG_LINES), "--no-pager", "--quiet"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _write(target: Path, files: dict[str, str]) -> None:
    # Nobody else can have it opened, not even before there is something in it.
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(made, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"vdp-bugreport/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
