"""`python -m bench NAME [options]`: as root, from the repository."""

from __future__ import annotations

import argparse
import os
import sys

from bench import tunnel


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure vdp beside its peers.")
    commands = parser.add_subparsers(required=True, metavar="NAME")
    tunnel.add_command(commands)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: needs root, to make network namespaces", file=sys.stderr)
        return 2
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
