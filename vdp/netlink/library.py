"""pyroute2, as much of it as vdp uses: AsyncIPRoute, and what it raises.

`import pyroute2` runs all of the library, a hundred modules for nftables, IPVS, 802.11, a
database and more, which takes longer than all of vdp.  Importing one module of a package
runs the package first; so the package is entered here as it was found, but not run.
Who asks it for another of its names (a plugin: `from pyroute2 import NDB`) has it run then.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType

_NAME = "pyroute2"
_lock = RLock()


class _Package(ModuleType):
    """A package that runs when something is asked of it that is none of its modules."""

    def __getattr__(self, name: str) -> object:
        with _lock:
            if self.__class__ is _Package:
                if _is_module(name):
                    return importlib.import_module(f"{_NAME}.{name}")
                assert self.__spec__ is not None
                assert self.__spec__.loader is not None
                self.__class__ = ModuleType  # type: ignore[assignment]
                self.__spec__.loader.exec_module(self)
        return object.__getattribute__(self, name)


def _is_module(name: str) -> bool:
    return find_spec(f"{_NAME}.{name}") is not None


def _enter() -> None:
    """Make it known without running it, unless somebody imported it before."""
    spec = None if _NAME in sys.modules else find_spec(_NAME)
    if spec is not None:
        package = module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[_NAME] = package


_enter()

from pyroute2.iproute.linux import AsyncIPRoute  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkError  # noqa: E402

__all__ = ["AsyncIPRoute", "NetlinkError", "discard_unread"]


def discard_unread(requests: AsyncIPRoute) -> None:
    """Let go what came after the answers to earlier requests: the kernel's acknowledgements.

    The library ends a request with its answer, and keeps the acknowledgement, which comes in a message
    of its own, where nobody looks (CoreMessageQueue, tag 0): some 4 KB a request, for ever.
    """
    queue = getattr(requests.local, "msg_queue", None)  # None before the first request
    unread = queue.queues.get(0) if queue is not None else None
    while unread is not None and not unread.empty():
        unread.get_nowait()
