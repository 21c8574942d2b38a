"""What can go wrong on the control socket, on both of its sides."""

from __future__ import annotations

from collections.abc import Iterable

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


def not_found(what: str, name: str, known: Iterable[str]) -> ControlError:
    """There is no such thing: what is called nearly so, or all there is."""
    import difflib  # costs more than all of the rest here

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(names) or 'none'}"
    return ControlError(NOT_FOUND, f'no {what} "{name}"', hint)


class DaemonUnreachable(Exception):
    """Nobody answers at the socket; `hint` says what would help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
