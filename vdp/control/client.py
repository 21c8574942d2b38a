"""Ask a running daemon: one request, one answer.

The automation interface too: `call("/run/vdp/vdp.sock", "port.show")` gives what
`vdp port show --json` prints.  Light: socket and json only.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from vdp.control.errors import INTERNAL, ControlError, DaemonUnreachable

DEFAULT_SOCKET = "/run/vdp/vdp.sock"


def call(path: str, method: str, params: dict[str, Any] | None = None, timeout_s: float = 10.0) -> Any:
    """The result of `method` from the daemon at `path`.

    Raises ControlError when the daemon answers with an error, DaemonUnreachable
    when it can not be asked.
    """
    request = json.dumps({"id": 1, "method": method, "params": params or {}}).encode() + b"\n"
    line = _exchange(path, request, timeout_s)
    try:
        answer = json.loads(line)
        error = answer.get("error")
        result = answer.get("result")
    except (ValueError, AttributeError):
        raise DaemonUnreachable(f"what answers at {path} does not speak vdp's protocol") from None
    if error is not None:
        raise ControlError(error.get("code", INTERNAL), error.get("message", ""), error.get("hint", ""))
    return result


def answers(path: str, timeout_s: float = 1.0) -> bool:
    """Whether somebody listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
        except OSError:
            return False
        return True


def _exchange(path: str, request: bytes, timeout_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
        except OSError as error:
            raise unreachable(path, error) from None
        chunks = []
        try:
            # A server that is full or refuses answers without reading: its answer counts all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            while chunk := connection.recv(1 << 16):
                chunks.append(chunk)
                if chunk.endswith(b"\n"):
                    break
        except TimeoutError:
            raise DaemonUnreachable(f"the daemon at {path} does not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise DaemonUnreachable(f"the daemon at {path} hung up: {error.strerror}") from None
    line = b"".join(chunks)
    if not line.endswith(b"\n"):
        raise DaemonUnreachable(f"the daemon at {path} hung up in the middle of its answer")
    return line


def unreachable(path: str, error: OSError) -> DaemonUnreachable:
    """Why nobody could be asked at `path`, and what would help."""
    reason = error.strerror or str(error)
    hints: dict[type[OSError], str] = {
        FileNotFoundError: "start one with: vdp -c FILE; or name its socket with --socket",
        ConnectionRefusedError: "the daemon that made this socket is gone; start one with: vdp -c FILE",
        PermissionError: "ask as root, or as the user that runs the daemon",
    }
    hint = next((text for kind, text in hints.items() if isinstance(error, kind)), "")
    return DaemonUnreachable(f"no daemon answers at {path}: {reason}", hint)
