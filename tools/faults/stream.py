"""A TCP stream whose every byte is known beforehand: python stream.py send ADDRESS PORT | receive PORT.

Run by its path, in a namespace, without anything of vdp.  A line on standard input asks; the answer
is a JSON object: bytes so far, bytes that were not what was sent, what ended it.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import threading
import time

#: A prime, so that what is lost or doubled of the usual sizes shows.
PATTERN = random.Random(7).randbytes(65521)
#: Bytes a second: more than a little, and no hog.
RATE = 16_000_000
CHUNK = 64 << 10


class Told:
    """What there is to tell."""

    def __init__(self) -> None:
        self.bytes = 0
        self.bad = 0
        self.ended = ""

    def answer(self) -> None:
        for _ in sys.stdin:
            print(json.dumps({"bytes": self.bytes, "bad": self.bad, "ended": self.ended}), flush=True)


def expected(at: int, size: int) -> bytes:
    start = at % len(PATTERN)
    return (PATTERN * (2 + size // len(PATTERN)))[start : start + size]


def send(address: str, port: int, told: Told) -> None:
    with socket.create_connection((address, port)) as stream:
        started = time.monotonic()
        while True:
            due = (time.monotonic() - started) * RATE - told.bytes
            if due > RATE:  # it stood still: no burst
                started += due / RATE
            elif due < CHUNK:
                time.sleep(0.002)
                continue
            stream.sendall(expected(told.bytes, CHUNK))
            told.bytes += CHUNK


def receive(port: int, told: Told) -> None:
    with socket.create_server(("", port)) as listening:
        stream, _ = listening.accept()
    with stream:
        while select.select([stream], [], [])[0]:
            found = stream.recv(1 << 20)
            if not found:
                break
            if found != expected(told.bytes, len(found)):
                told.bad += len(found)
            told.bytes += len(found)


def main() -> None:
    told = Told()
    threading.Thread(target=told.answer, daemon=True).start()
    try:
        if sys.argv[1] == "send":
            send(sys.argv[2], int(sys.argv[3]), told)
        else:
            receive(int(sys.argv[2]), told)
        told.ended = "closed"
    except OSError as error:
        told.ended = str(error)
    while True:
        time.sleep(3600)  # who asks is answered until it is ended


if __name__ == "__main__":
    main()
