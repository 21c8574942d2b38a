"""What the service manager is told, and what it keeps for us: sd_notify(3), without its library."""

from vdp.service.notify import Notify
from vdp.service.store import FdStore

__all__ = ["FdStore", "Notify"]
