"""What goes through the tunnels: TCP by iperf3 or by ourselves, and a router's redirected packets."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable

from vdp.demo.configuration import BEHIND, CACHE, REFUSED_SERVICE
from vdp.demo.site import LEFT, RIGHT, UNDERLAY, end_with_parent
from vdp.netlink import namespaces
from vdp.testing.builders import gre, ipv4, udp

TCP_PORT = 5201
#: Rates, so that there is something left of the machine: bits a second of TCP, packets of others.
TCP_RATE = 300_000_000
REDIRECTED_PPS, STRANGE_PPS = 200, 5
GRE, WCCP, TEB = 47, 0x883E, 0x6558


class Traffic:
    """Runs between start() and stop().  Each process has a session of its own, and ends with it."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()
        self.tool = "iperf3" if shutil.which("iperf3") else "its own sender"

    def start(self) -> None:
        for pair, sends in ((0, RIGHT), (1, LEFT)):
            hears = LEFT if sends == RIGHT else RIGHT
            if self.tool == "iperf3":
                self._iperf(hears, sends, BEHIND[hears][pair])
            else:
                self._stream(hears, sends, BEHIND[hears][pair])
        self._thread(namespaces.run_in(RIGHT, _raw), self._redirect)
        self._spawn(RIGHT, "ping", "-q", "-n", "-i", "0.2", BEHIND[LEFT][0])

    def stop(self) -> None:
        self._ending.set()
        for process in reversed(self._processes):
            os.killpg(process.pid, signal.SIGTERM)  # with what it has started itself
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for thread in self._threads:
            thread.join(5)

    # -- TCP ----------------------------------------------------------------------------------

    def _iperf(self, hears: str, sends: str, address: str) -> None:
        self._spawn(hears, "iperf3", "-s", "-B", address, "-p", str(TCP_PORT))
        client = f"iperf3 -c {address} -p {TCP_PORT} -t 86400 -b {TCP_RATE} --connect-timeout 2000"
        self._spawn(
            sends, "sh", "-c", f"while :; do {client}; sleep 0.3; done"
        )  # the server may not listen yet

    def _spawn(self, host: str, *command: str) -> None:
        self._processes.append(
            subprocess.Popen(
                ["ip", "netns", "exec", host, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        )

    def _stream(self, hears: str, sends: str, address: str) -> None:
        """One connection, as fast as TCP_RATE."""
        listening = namespaces.run_in(hears, socket.socket)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, TCP_PORT))
        listening.listen()
        sending = namespaces.run_in(sends, socket.socket)
        sending.settimeout(2)
        self._thread(listening, self._swallow)
        self._thread(sending, lambda made: self._send(made, address))

    def _thread(self, owned: socket.socket, run: Callable[[socket.socket], None]) -> None:
        def body() -> None:
            with owned, contextlib.suppress(OSError):
                run(owned)

        thread = threading.Thread(target=body, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _swallow(self, listening: socket.socket) -> None:
        listening.settimeout(0.5)
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(0.5)
                    while not self._ending.is_set():
                        with contextlib.suppress(TimeoutError):  # on a busy machine
                            if not connection.recv(1 << 16):
                                break

    def _send(self, sending: socket.socket, address: str) -> None:
        while sending.connect_ex((address, TCP_PORT)) and not self._ending.wait(0.3):
            pass
        piece = bytes(1 << 16)
        while not self._ending.wait(8 * len(piece) / TCP_RATE):
            with contextlib.suppress(TimeoutError):
                sending.send(piece)

    # -- WCCP ---------------------------------------------------------------------------------

    def _redirect(self, raw: socket.socket) -> None:
        """A router that redirects web traffic of three services, and somebody with a wrong key."""
        number = 0
        while not self._ending.wait(1 / REDIRECTED_PPS):
            number += 1
            header = bytes([0, (0, 51, REFUSED_SERVICE)[number % 3], 0, number & 0xFF])
            request = udp(20_000 + number % 1000, 80, bytes(200))
            client = ipv4(f"198.51.100.{1 + number % 200}", CACHE, request)
            _send(raw, gre(header + client, WCCP))
            if number % (REDIRECTED_PPS // STRANGE_PPS) == 0:
                _send(raw, gre(bytes(60), TEB, key=666))


def _raw() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _send(raw: socket.socket, packet: bytes) -> None:
    """From the right host to the left one."""
    with contextlib.suppress(OSError):
        raw.sendto(ipv4(UNDERLAY[RIGHT], UNDERLAY[LEFT], packet, protocol=GRE), (UNDERLAY[LEFT], 0))
