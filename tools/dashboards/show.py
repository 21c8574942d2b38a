"""`make dashboards`: vdp under traffic and faults, with a Prometheus whose consoles a browser can see.

Runs until ^C, or for as many seconds as VDP_DASHBOARDS_SECONDS says.  The namespaces, vdp, Prometheus
and what it stored are gone afterwards.  Prometheus and the status pages listen in namespaces; relays on
the loopback here lead to them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
import time

from tests.lab import Lab, LabError, Process
from tools.dashboards.files import DASHBOARDS
from tools.dashboards.site import DISCARD, PROMETHEUS, STATUS_PAGES, Site
from vdp.netlink import namespaces

LISTEN = ("127.0.0.1", 9090)
#: The next ports are tried when one is taken; a vdp or a demo beside keeps its own.
PORTS = 20


class Relay:
    """TCP connections to an address here, led to one in a namespace."""

    def __init__(self, namespace: str, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._namespace = namespace
        self._listening = _listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._listening.getsockname()
        return f"http://{host}:{port}"

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._lead, args=(near,), daemon=True).start()

    def _lead(self, near: socket.socket) -> None:
        """Both directions, until either end closes."""
        with near, contextlib.suppress(OSError):
            far = namespaces.run_in(self._namespace, lambda: socket.create_connection(self._target, 5))
            with far, selectors.DefaultSelector() as ready:
                far.settimeout(None)
                ready.register(near, selectors.EVENT_READ, far)
                ready.register(far, selectors.EVENT_READ, near)
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                        if not data:
                            return
                        key.data.sendall(data)


def _listen() -> socket.socket:
    host, first = LISTEN
    for port in range(first, first + PORTS):
        with contextlib.suppress(OSError):
            return socket.create_server((host, port))
    raise LabError(f"ports {first} to {first + PORTS - 1} of {host} are taken: end what listens there")


class Traffic:
    """What keeps the dashboards moving: kept up in rounds, each with a fault."""

    def __init__(self, site: Site) -> None:
        self._site = site
        site.serve_iperf()
        site.serve_iperf(5202)
        site.send_udp("10.0.1.2", 512, 900)
        site.send_udp("10.0.0.2", 200, 40, port=DISCARD)
        site.send_broken(12)
        site.fail_reload()
        self._runs: dict[str, Process] = {}
        self._round = 0

    def keep_up(self) -> None:
        """Start anew what has ended."""
        for address, port, more in (("10.0.0.2", "5201", ()), ("10.0.1.2", "5202", ("-R",))):
            run = self._runs.get(port)
            if run is None or run.status is not None:
                self._round += 1
                rate = f"{(20, 45, 30, 60, 15)[self._round % 5]}M"
                self._runs[port] = self._site.inside1.start(
                    "iperf3", "-c", address, "-p", port, "-t", "7", "-b", rate, *more, name="iperf3"
                )


def main() -> int:
    if os.geteuid() != 0:
        print("make dashboards opens TAP devices and namespaces: run it as root", file=sys.stderr)
        return 1
    seconds = float(os.environ.get("VDP_DASHBOARDS_SECONDS", "inf"))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print("starting two vdp, their traffic, and Prometheus …", flush=True)
    with Lab() as lab:
        site = Site.of(lab, scrape_s=2)
        relay = Relay(site.edge1.name, PROMETHEUS)
        pages = {name: Relay(site.edge1.name, target) for name, target in STATUS_PAGES.items()}
        traffic = Traffic(site)
        for dashboard in DASHBOARDS:
            print(f"  {dashboard.title}: {relay.url}/consoles/{dashboard.name}.html?range=5m")
        print(f"  alerts: {relay.url}/alerts")
        for name, page in pages.items():
            print(f"  status page of {name}: {page.url}/")
        print("^C ends it and takes everything away.", flush=True)
        end = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < end:
            traffic.keep_up()
            stop.wait(1)
        for each in (relay, *pages.values()):
            each.close()
    print("everything is gone again")
    return 0
