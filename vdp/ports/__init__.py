"""Where packets enter and leave: opening and naming.  I/O is the engine's.

`open_port(section, system)` gives an `OpenedPort`, whose `config` the engine takes.
"""

from vdp.ports.carried import Carried
from vdp.ports.errors import PortError
from vdp.ports.open import open_port
from vdp.ports.opened import OpenedPort
from vdp.ports.transmit import refused

__all__ = ["Carried", "OpenedPort", "PortError", "open_port", "refused"]
