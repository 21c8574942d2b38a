"""How processes before this one ended: which plugin's handler ran then, and who was never ready.

What takes the whole process with it (a crash in a library, a call that never returns, until the
service manager ends the process) can be neither caught nor interrupted.  So the name of the handler
that runs stands in a memory file that the service manager keeps (vdp.service.FdStore).

    | the handler that runs: list, owner, name | who ended the process before | how often in a row |
    | how many processes in a row ended before they were ready |

The first time it is passed over for a second, as it may have been chance; then for a minute,
two, … (vdp.quarantine.Conduct).  A process that follows on such as never were ready waits before
it begins, longer each time.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.registry import Registered
    from vdp.service import FdStore

SIZE = 256
NAME = "last words"
#: Whose handlers are not passed over, and ask the others.
OWNER = "vdp"
_FAILED_STARTS = 2 * SIZE + 1
#: What is waited after one failed start, and at most.
PATIENCE_S, MOST_PATIENCE_S = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Culprit:
    """times: so many processes in a row ended while it ran."""

    list: str
    owner: str
    name: str
    times: int

    def among(self, handlers: Iterable[Registered]) -> Registered | None:
        """The handler that is registered under these names now."""
        wanted = (self.list, self.owner, self.name)
        return next((each for each in handlers if (each.list, each.owner, each.name) == wanted), None)


class LastWords:
    """Of one dataplane.  Without a store nothing is written."""

    def __init__(self, store: FdStore | None = None) -> None:
        self._memory: mmap.mmap | None = None
        self._now = bytes(SIZE)
        #: Who ended the process before this one.
        self.culprit: Culprit | None = None
        #: Processes in a row that ended before they were ready.
        self.failed_starts = 0
        if store is None or not store.is_there:
            return
        kept = store.take(NAME)
        fd = os.memfd_create(NAME.replace(" ", "-"), os.MFD_CLOEXEC) if kept is None else kept
        try:
            if kept is None:
                os.ftruncate(fd, mmap.PAGESIZE)
                store.put(NAME, fd)
            self._memory = mmap.mmap(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)
        self._judge(self._memory)
        self.failed_starts = self._memory[_FAILED_STARTS]
        self._memory[_FAILED_STARTS] = min(self.failed_starts + 1, 255)

    @property
    def patience_s(self) -> float:
        """How long to wait before what may fail again is begun."""
        return min(PATIENCE_S * 2 ** (self.failed_starts - 1), MOST_PATIENCE_S) if self.failed_starts else 0.0

    def ready(self) -> None:
        """This process did not fail to start."""
        if self._memory is not None:
            self._memory[_FAILED_STARTS] = 0

    def begin(self, registered: Registered) -> bytes:
        """It runs from now on; what `end` wants to have."""
        before = self._now
        if self._memory is not None and registered.owner != OWNER:
            words = f"{registered.list}\0{registered.owner}\0{registered.name}\0".encode()
            self._write(words[:SIZE].ljust(SIZE, b"\0"))
        return before

    def end(self, before: bytes) -> None:
        """What ran before runs again, or nothing does."""
        if self._memory is not None:
            self._write(before)

    def _write(self, words: bytes) -> None:
        assert self._memory is not None
        self._now = words
        self._memory[:SIZE] = words

    def _judge(self, memory: mmap.mmap) -> None:
        last, before, times = memory[:SIZE], memory[SIZE : 2 * SIZE], memory[2 * SIZE]
        memory[:SIZE] = bytes(SIZE)
        names = last.decode(errors="replace").split("\0")
        if not any(last) or len(names) < 4:
            memory[2 * SIZE] = 0
            return
        times = min(times + 1, 255) if last == before else 1
        memory[SIZE : 2 * SIZE] = last
        memory[2 * SIZE] = times
        self.culprit = Culprit(names[0], names[1], names[2], times)
