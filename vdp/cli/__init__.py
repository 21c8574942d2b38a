"""The command `vdp`: the daemon by `vdp -c FILE`, and noun-verb commands that ask a running one.

Commands that ask import the standard library only; everything heavy is imported
where it is used.
"""

from vdp.cli.arguments import main

__all__ = ["main"]
