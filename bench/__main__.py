"""`python -m bench NAME [options]`: from the repository; most of them as root."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from bench import (
    books,
    engine,
    explosion,
    latency,
    overload,
    packets,
    plugins,
    scale,
    start,
    tunnel,
    upcalls,
)
from bench.program import MissingTool
from tests.lab import LabError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure vdp beside its peers.")
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for module in (
        *(tunnel, packets, engine, books, plugins, scale, upcalls, latency, start),
        *(overload, explosion),
    ):
        module.add_command(commands)
    arguments = parser.parse_args()
    if arguments.needs_root and os.geteuid() != 0:
        print("bench: needs root, to make network namespaces", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: what was made is taken away
    try:
        status: int = arguments.run(arguments)
    except MissingTool as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except LabError as error:
        print("bench:", error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
