"""What can go wrong on the control socket, on both of its sides."""

from __future__ import annotations

# Codes of ControlError; stable, as the exit codes of the commands are chosen by them.
NOT_FOUND = "not_found"
BAD_REQUEST = "bad_request"
UNKNOWN_METHOD = "unknown_method"
TOO_LARGE = "too_large"
REFUSED = "refused"
BUSY = "busy"
INTERNAL = "internal"


class ControlError(Exception):
    """A request that is answered with an error: {code, message, hint}."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


class DaemonUnreachable(Exception):
    """Nobody answers at the socket; `hint` says what would help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
