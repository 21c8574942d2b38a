"""README.md does what it says: its commands run as they stand there, its plugin is loaded and used."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lab import REPOSITORY, wait_for
from vdp.engine.interface import PacketType
from vdp.testing.builders import gre, ipv4, udp
from vdp.testing.dataplane import Dataplane
from vdp.testing.soundness import check_soundness

README = (REPOSITORY / "README.md").read_text()
#: As in a terminal of its own: not inside another make, and wide enough for the tables.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
ENVIRONMENT |= {"COLUMNS": "250", "LC_ALL": "C", "NO_COLOR": "1"}


def fenced(language: str) -> list[str]:
    """The blocks of that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, with the lines that it is said to print."""
    for part in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, lines


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, and how wide columns are."""
    line = re.sub(r"\b[0-9a-f]{8,}\b", "H", line)
    return re.sub(r"\s+", " ", re.sub(r"\d+(,\d{3})*(\.\d+)?", "N", line)).strip()


@pytest.fixture
def elsewhere() -> Iterator[list[str]]:
    """What to put before a command so that it runs in namespaces of its own, with an empty /run."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    script = "mount -t tmpfs none /run && ip link set lo up && echo there && exec cat"
    with subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdin is not None
        assert keeper.stdout.readline() == b"there\n"
        yield ["nsenter", f"--target={keeper.pid}", "--net", "--mount", "--root", f"--wd={REPOSITORY}", "--"]
        keeper.stdin.close()  # cat ends, and the namespaces with it


@pytest.mark.root
@pytest.mark.timeout(300)
def test_the_quick_start_works_as_it_stands(elsewhere: list[str], tmp_path: Path) -> None:
    subprocess.run(["make", "setup"], cwd=REPOSITORY, check=True, env=ENVIRONMENT, stdout=sys.stderr)
    start, look, _ = fenced("console")
    ((command, expected),) = commands(start)
    said = tmp_path / "said"

    def logged() -> list[str]:
        return [line for line in said.read_text().splitlines() if line.startswith("info: ")]

    with (
        said.open("wb") as output,
        subprocess.Popen(
            [*elsewhere, *command.split()], env=ENVIRONMENT, stdout=output, stderr=output
        ) as daemon,
    ):
        wait_for("vdp", lambda: "ready" in said.read_text() or daemon.poll() is not None, 60)
        try:
            assert logged() == expected, said.read_text()
            for command, lines in commands(look):
                wait_for(f"all that {command} prints", partial(prints, elsewhere, command, lines))
        finally:
            # To make and to vdp under it, as a terminal's Ctrl-C.
            for pid in (*children(daemon.pid), daemon.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
    assert logged() == [*expected, "info: stopping"]
    devices = output_of([*elsewhere, "ip", "-o", "link"])
    assert [line.split(":")[1].strip() for line in devices] == ["lo"]
    assert output_of([*elsewhere, "ls", "/run/netns"]) == []


@pytest.mark.root
@pytest.mark.timeout(300)
def test_the_demo_works_as_it_stands(elsewhere: list[str]) -> None:
    subprocess.run(["make", "setup"], cwd=REPOSITORY, check=True, env=ENVIRONMENT, stdout=sys.stderr)
    *_, block = fenced("console")
    ((command, expected),) = commands(block)
    done = subprocess.run(
        [*elsewhere, *command.split()], capture_output=True, text=True, env=ENVIRONMENT, timeout=100
    )
    assert done.returncode == 0, done.stderr
    said = {shape(line) for line in done.stderr.splitlines()}
    assert not [line for line in expected if shape(line) not in said], done.stderr
    assert output_of([*elsewhere, "ls", "/run/netns"]) == []


def output_of(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=30)
    return done.stdout.splitlines()


class Absent(list[str]):
    """Lines that are missing; true when there are none."""

    def __bool__(self) -> bool:
        return len(self) == 0


def prints(elsewhere: list[str], command: str, lines: list[str]) -> Absent:
    """Whether the command prints all those lines; it must not fail."""
    found = {shape(line) for line in output_of([*elsewhere, *command.split()])}
    return Absent(line for line in lines if shape(line) not in found)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The README's plugin, as pip would have installed it."""
    (source,) = fenced("python")
    (entry,) = re.findall(r'^(\w+) = "(\w+)"$', fenced("toml")[0], re.MULTILINE)
    name, module = entry
    (tmp_path / f"{module}.py").write_text(source)
    metadata = tmp_path / f"{module}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[vdp]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return str(name)


def labelled(label: int, bottom: bool) -> bytes:
    inner = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
    shim = struct.pack("!I", label << 12 | bottom << 8 | 64)
    return ipv4("192.0.2.2", "192.0.2.1", gre(shim + inner, 0x8847), protocol=47)


def test_the_smallest_plugin_works_as_it_stands(plugin: str) -> None:
    with Dataplane(plugins=("gre", plugin)) as plane:
        plane.port("underlay", PacketType.L3)
        plane.port("lan", PacketType.L3)
        plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
        plane.connect("lan", "gre1")
        plane.send("underlay", labelled(16, bottom=True))
        seen = plane.upcalls
        plane.send("underlay", labelled(17, bottom=True))
        inner = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
        assert plane.received("lan") == [inner, inner]
        assert plane.upcalls == seen, "one megaflow serves packets of all labels"
        plane.send("underlay", labelled(16, bottom=False))
        assert plane.received("lan") == [labelled(16, bottom=False)[24:]], "the gre link takes it as it is"
        check_soundness(plane.datapath, "underlay", labelled(16, True), labelled(16, False))


def test_the_smallest_plugin_is_small() -> None:
    (source,) = fenced("python")
    assert len([line for line in source.splitlines() if line.strip()]) <= 25
