"""`python -m vdp` is `vdp`."""

import sys

from vdp.cli import main

if __name__ == "__main__":
    sys.exit(main())
