"""Named network namespaces, as `ip netns` keeps them: a bind mount under /run/netns.

Everything here leaves the calling thread in the namespace that it is in: what has to
happen elsewhere happens in a thread of its own that ends with it (setns(2) and
unshare(2) change one thread only).  Names are what `ip netns list` shows; None is the
namespace of the process.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

RUN_DIR = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 0x100000
_MNT_DETACH = 2

_T = TypeVar("_T")


def path(name: str) -> Path:
    """Where the namespace's mount is.  ValueError for a name that is not a file name."""
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise ValueError(f"{name!r} is not a namespace name")
    return RUN_DIR / name


def exists(name: str) -> bool:
    """Is there a namespace of that name (a mount, not just a file left over)?"""
    try:
        return path(name).stat().st_dev != RUN_DIR.stat().st_dev
    except FileNotFoundError:
        return False


def identity(name: str | None) -> int | None:
    """What tells the namespace of that name from another that has, or had, it; None: there is none."""
    if name is None:
        return os.stat("/proc/thread-self/ns/net").st_ino
    return path(name).stat().st_ino if exists(name) else None


def restore(name: str, handle: int) -> None:
    """Give a namespace that somebody kept open its name again.  FileExistsError when it is taken."""
    mount_point = path(name)
    _share_run_dir()
    os.close(os.open(mount_point, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))
    try:
        _mount(f"/proc/self/fd/{handle}", mount_point, _MS_BIND)
    except OSError:
        mount_point.unlink()
        raise


def create(name: str) -> None:
    """Make a namespace, its loopback still down, as `ip netns add`.  FileExistsError when there is one."""
    mount_point = path(name)
    _share_run_dir()
    os.close(os.open(mount_point, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))

    def unshare_and_mount() -> None:
        _call("unshare", _libc().unshare(_CLONE_NEWNET))
        _mount("/proc/thread-self/ns/net", mount_point, _MS_BIND)

    try:
        _in_thread(unshare_and_mount)
    except OSError:
        mount_point.unlink()
        raise


def remove(name: str) -> None:
    """Unmount and unlink, as `ip netns del`; the namespace ends with its last user.  FileNotFoundError."""
    mount_point = path(name)
    if exists(name):
        _call("umount", _libc().umount2(os.fsencode(mount_point), _MNT_DETACH))
    mount_point.unlink()


def run_in(name: str | None, function: Callable[[], _T]) -> _T:
    """What `function()` answers when run inside the namespace; sockets and TAPs made there stay there.

    None runs it here.  FileNotFoundError when there is no such namespace.
    """
    return function() if name is None else _run_at(path(name), function)


def run_as(pid: int, function: Callable[[], _T]) -> _T:
    """The same in the network namespace that a process is in.  OSError: it is gone, or may not be entered."""
    return _run_at(Path(f"/proc/{pid}/ns/net"), function)


def is_ours(pid: int) -> bool:
    """Whether a process is in our own network namespace; True where that is not to be known."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return True


def _run_at(namespace: Path, function: Callable[[], _T]) -> _T:
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:

        def enter_and_run() -> _T:
            _call("setns", _libc().setns(handle, _CLONE_NEWNET))
            return function()

        return _in_thread(enter_and_run)
    finally:
        os.close(handle)


def _in_thread(function: Callable[[], _T]) -> _T:
    """Run in a thread made for it; its result, or its exception."""
    results: list[_T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as failure:  # handed to the caller, whatever it is
            failures.append(failure)

    thread = threading.Thread(target=run, name="vdp-netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _share_run_dir() -> None:
    """/run/netns as a shared mount: other mount namespaces see what is added (iproute2, netns_add)."""
    RUN_DIR.mkdir(parents=True, exist_ok=True)
    try:
        _mount("none", RUN_DIR, _MS_SHARED | _MS_REC)
    except OSError:  # not a mount point yet
        _mount(str(RUN_DIR), RUN_DIR, _MS_BIND | _MS_REC)
        _mount("none", RUN_DIR, _MS_SHARED | _MS_REC)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, flags: int) -> None:
    result = _libc().mount(
        os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), ctypes.c_void_p(None)
    )
    _call(f"mount {target}", result)


def _call(what: str, result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
