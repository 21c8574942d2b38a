"""What a service manager hears, and what it is given to keep."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vdp.last_words import LastWords
from vdp.quarantine import MOST_TERM_NS, NS, Conduct
from vdp.service import FdStore, Notify


class Manager:
    """One end of a notify socket."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(5)

    def hear(self) -> tuple[str, list[int]]:
        text, fds, _, _ = socket.recv_fds(self.socket, 4096, 8)
        return text.decode(), fds


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.socket.close()


@pytest.fixture
def notify(manager: Manager) -> Iterator[Notify]:
    made = Notify(manager.address)
    yield made
    made.close()


def test_a_line_stays_a_line(manager: Manager, notify: Notify) -> None:
    assert notify.tell("READY=1", "STATUS=two\nlines")
    assert manager.hear() == ("READY=1\nSTATUS=two lines", [])


def test_children_inherit_nothing(manager: Manager) -> None:
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notify = Notify.from_environment(environment)
    assert notify.is_there
    assert notify.watchdog_s == 3
    assert environment == {}
    notify.close()


def test_a_watchdog_of_another_process_is_not_ours(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    notify = Notify.from_environment(environment)
    assert notify.watchdog_s == 0
    notify.close()


def test_without_a_manager_nothing_is_sent() -> None:
    notify = Notify.from_environment({})
    assert not notify.is_there
    assert not notify.tell("READY=1")


def test_who_does_not_hear_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager(tmp_path)
    notify = Notify(manager.address)
    manager.socket.close()
    assert not notify.tell("READY=1")
    assert not notify.tell("READY=1")
    assert len(caplog.records) == 1
    notify.close()


def test_a_barrier_waits_until_all_before_it_is_done(manager: Manager, notify: Notify) -> None:
    def serve() -> None:
        assert manager.hear()[0].startswith("FDSTOREREMOVE=1")
        text, fds = manager.hear()
        assert text == "BARRIER=1"
        done.set()
        for fd in fds:
            os.close(fd)

    done = threading.Event()
    serving = threading.Thread(target=serve)
    serving.start()
    FdStore(notify).discard("tap0 queue 0")
    assert done.is_set()
    serving.join()


def test_a_descriptor_is_kept_under_its_name(manager: Manager, notify: Notify) -> None:
    reading, writing = os.pipe()
    FdStore(notify).put("tap0 queue 0", writing)
    text, fds = manager.hear()
    assert text == "FDSTORE=1\nFDNAME=tap0 queue 0\nFDPOLL=0"
    os.write(fds[0], b"x")
    assert os.read(reading, 1) == b"x"
    for fd in (reading, writing, *fds):
        os.close(fd)


def test_what_nobody_takes_is_let_go(manager: Manager, notify: Notify) -> None:
    taken, left = os.pipe()
    store = FdStore(notify, [("taken", taken), ("left", left)])
    assert store.take("taken") == taken
    assert store.take("taken") is None
    assert store.sweep() == ["left"]
    assert manager.hear()[0] == "FDSTOREREMOVE=1\nFDNAME=left"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(left)
    os.fstat(taken)
    os.close(taken)


def test_who_leaves_takes_nothing_out(manager: Manager, notify: Notify) -> None:
    store = FdStore(notify)
    store.leave()
    store.remove("tap0 queue 0")
    notify.tell("STOPPING=1")
    assert manager.hear()[0] == "STOPPING=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"},
        {"LISTEN_FDS": "x", "LISTEN_PID": "SELF"},
    ],
)
def test_descriptors_of_another_process_are_not_ours(environment: dict[str, str]) -> None:
    environment = {name: value.replace("SELF", str(os.getpid())) for name, value in environment.items()}
    assert FdStore.from_environment(Notify(), environment).names == frozenset()
    assert environment == {}


# -- last words ------------------------------------------------------------------------------------


class Kept(FdStore):
    """A store that hands the memory on, as from process to process."""

    def __init__(self, fd: int | None = None) -> None:
        super().__init__()
        self.fd = fd

    @property
    def is_there(self) -> bool:
        return True

    def take(self, name: str) -> int | None:
        return None if self.fd is None else os.dup(self.fd)

    def put(self, name: str, fd: int) -> None:
        self.fd = os.dup(fd)


def handler(name: str, owner: str = "somebody") -> Any:
    return SimpleNamespace(list="gre_cisco", owner=owner, name=name)


def test_the_handler_in_which_a_process_ended_is_known_to_the_next() -> None:
    store = Kept()
    words = LastWords(store)
    outer = words.begin(handler("outer"))
    words.begin(handler("inner"))
    culprit = LastWords(store).culprit
    assert culprit is not None
    assert (culprit.name, culprit.times) == ("inner", 1)
    assert culprit.among([handler("outer"), handler("inner")]).name == "inner"  # type: ignore[union-attr]
    assert culprit.among([handler("inner", "another")]) is None
    assert LastWords(store).culprit is None, "nothing ran in between"
    assert outer == bytes(len(outer))


def test_what_has_ended_is_no_last_word() -> None:
    store = Kept()
    words = LastWords(store)
    before = words.begin(handler("outer"))
    words.end(words.begin(handler("inner")))
    assert LastWords(store).culprit is not None
    words.end(before)
    assert LastWords(store).culprit is None


def test_vdps_own_handlers_are_not_blamed() -> None:
    store = Kept()
    LastWords(store).begin(handler("gre_rcv", "vdp"))
    assert LastWords(store).culprit is None


def test_who_ends_one_process_after_the_other_is_out_for_longer() -> None:
    store = Kept()
    terms = []
    for _ in range(6):
        words = LastWords(store)
        conduct = Conduct()
        if words.culprit is not None:
            conduct.blame(0, words.culprit.times)
        terms.append(conduct.term_ns // NS)
        words.begin(handler("inner"))
    assert terms == [0, 1, 60, 120, 240, MOST_TERM_NS // NS]
