"""Where packets enter and leave: opening and naming.  I/O is the engine's.

`open_port(section, system)` gives an `OpenedPort`, whose `config` the engine takes.
"""

from vdp.ports.errors import PortError
from vdp.ports.open import open_port, show_only
from vdp.ports.opened import OpenedPort

__all__ = ["OpenedPort", "PortError", "open_port", "show_only"]
