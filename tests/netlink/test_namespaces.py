"""Named namespaces: made and removed as `ip netns` does, without moving the caller."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from vdp.netlink import System, namespaces

pytestmark = pytest.mark.root


@pytest.fixture
def name() -> Iterator[str]:
    chosen = f"vdp-{os.getpid()}-ns"
    yield chosen
    if namespaces.path(chosen).exists():
        namespaces.remove(chosen)


def _own() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_what_is_made_is_what_ip_netns_shows(name: str) -> None:
    namespaces.create(name)
    assert namespaces.exists(name)
    shown = subprocess.run(["ip", "netns", "exec", name, "ip", "-br", "link"], capture_output=True, text=True)
    assert shown.stdout.split()[:2] == ["lo", "DOWN"]


def test_what_is_removed_is_gone(name: str) -> None:
    namespaces.create(name)
    namespaces.remove(name)
    assert not namespaces.exists(name)
    assert not namespaces.path(name).exists()


def test_a_name_that_is_taken_is_refused_and_stays(name: str) -> None:
    namespaces.create(name)
    with pytest.raises(FileExistsError):
        namespaces.create(name)
    assert namespaces.exists(name)


def test_a_file_left_over_is_no_namespace(name: str) -> None:
    namespaces.RUN_DIR.mkdir(exist_ok=True)
    namespaces.path(name).touch()
    assert not namespaces.exists(name)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_is_not_a_file_name_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not a namespace name"):
        namespaces.path(bad)


def test_the_caller_stays_where_it_is(name: str) -> None:
    before = _own()
    namespaces.create(name)
    there = namespaces.run_in(name, _own)
    assert _own() == before
    assert there == namespaces.path(name).stat().st_ino != before


def test_a_socket_made_inside_sees_the_inside(name: str) -> None:
    namespaces.create(name)
    made = namespaces.run_in(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with made, pytest.raises(OSError, match="unreachable"):  # not even loopback is up there
        made.connect(("127.0.0.1", 9))


def test_an_exception_inside_comes_out(name: str) -> None:
    namespaces.create(name)
    with pytest.raises(ZeroDivisionError):
        namespaces.run_in(name, lambda: 1 // 0)


async def _claim_twice(name: str) -> list[bool]:
    system = System()
    system.claim(name)
    system.claim(name)
    await system.netlink(name)
    seen = [namespaces.exists(name)]
    for _ in range(2):
        await system.release(name)
        seen.append(namespaces.exists(name))
    await system.close()
    return seen


def test_a_namespace_of_ours_goes_with_its_last_claim(name: str) -> None:
    assert asyncio.run(_claim_twice(name)) == [True, True, False]


def test_a_namespace_that_was_there_stays(name: str) -> None:
    namespaces.create(name)
    assert asyncio.run(_claim_twice(name)) == [True, True, True]
