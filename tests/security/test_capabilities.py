"""Which capabilities a configuration keeps, and what of the files that vdp needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import REPOSITORY
from vdp import capabilities
from vdp.config import Config, load
from vdp.reload.plan import LIVE_KEYS, Present, make_plan

Read = Callable[[str], Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> Config:
        path = tmp_path / "vdp.toml"
        path.write_text(text)
        return load(path, lambda section: {})

    return read


RAW = '[[port]]\nname = "wan"\ntype = "raw"\n'


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", {}),
        (RAW + 'protocol = "gre"', {}),
        ('[[port]]\nname = "t"\ntype = "tap"\nnetns = "blue"', {"CAP_SYS_ADMIN": ("port", 0, "netns")}),
        (RAW + 'interface = "eth0"', {"CAP_BPF": ("port", 0, "interface")}),
        (RAW + 'interface = "eth0"\nexclusive = false', {}),
        (
            RAW + 'interface = "eth0"\nexclusive = false\ntransmit = "xdp"',
            {"CAP_IPC_LOCK": ("port", 0, "transmit")},
        ),
        ('[metrics]\nlisten = "127.0.0.1:80"', {"CAP_NET_BIND_SERVICE": ("metrics", "listen")}),
        ('[metrics]\nenabled = false\nlisten = "127.0.0.1:80"', {}),
        (
            '[security]\ncapabilities = ["CAP_SYS_TIME"]',
            {"CAP_SYS_TIME": ("security", "capabilities", 0)},
        ),
    ],
)
def test_what_a_configuration_asks_for(read: Read, text: str, asked: dict[str, tuple[object, ...]]) -> None:
    assert capabilities.asked_for(read(text)) == asked


def test_a_reload_lacks_what_is_new_and_not_held(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = read(RAW + 'interface = "eth0"'), read(RAW + 'interface = "eth0"\nnetns = "blue"')
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset({"CAP_NET_ADMIN"}))
    assert capabilities.missing(before, before) == {}, "without CAP_BPF vdp runs, too: it shares"
    assert capabilities.missing(after, before) == {"CAP_SYS_ADMIN": ("port", 0, "netns")}
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset({"CAP_SYS_ADMIN"}))
    assert capabilities.missing(after, before) == {}


def test_a_reload_that_needs_what_was_given_up_is_refused_with_the_way_out(read: Read) -> None:
    config = read('[[port]]\nname = "t"\ntype = "tap"\nnetns = "blue"')
    none = {"ports": {}, "links": {}, "plugins": {}}
    nothing = dict.fromkeys(("bridges", "connects", "routes", "rules"), ())
    tables = {table: getattr(config, table) for table in LIVE_KEYS}
    lacking: dict[str, tuple[str | int, ...]] = {
        "CAP_SYS_ADMIN": ("port", 0, "netns"),
        "CAP_NET_BIND_SERVICE": ("metrics", "listen"),
    }
    present = Present(**none, **nothing, tables=tables, lacking=lacking)
    fault, other = make_plan(present, config, {}).faults
    assert (fault.path, fault.kind) == (("port", 0, "netns"), "at-start-only")
    assert fault.text() == (
        "needs CAP_SYS_ADMIN, which this vdp gave up at its start, as no port needed it then"
    )
    assert "restart vdp" in fault.hint
    assert other.text().startswith("needs CAP_NET_BIND_SERVICE, which")
    assert other.text().endswith("as nothing needed it then")


#: In a process of its own: what is given up is gone for good.
PROGRAM = """
import os, sys
from pathlib import Path
from vdp import capabilities
from vdp.config import load
config = load(Path(sys.argv[1]), lambda section: {})
os.dup2(os.open("/dev/null", os.O_RDONLY), 99)
os.set_inheritable(99, True)
capabilities.close_on_exec()
kept = capabilities.give_up(config)
assert kept == capabilities.effective(), kept
assert not os.get_inheritable(99) and os.get_inheritable(1)
print(*sorted(kept))
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("more", "closed", "kept"),
    [
        ("", False, "CAP_NET_ADMIN CAP_NET_RAW"),
        ('[security]\ncapabilities = ["CAP_SYS_TIME"]', False, "CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_TIME"),
        ("", True, "CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_NET_RAW"),
    ],
)
def test_what_is_kept(tmp_path: Path, more: str, closed: bool, kept: str) -> None:
    """closed: the configuration is in a folder of somebody who lets nobody in, not even root."""
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "vdp.toml"
    path.write_text(f'{more}\n[control]\nsocket = "{tmp_path}/vdp.sock"\n')
    if closed:
        os.chown(folder, 64_321, 64_321)
        folder.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"},
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == (kept, 0), done.stderr
