"""What can go wrong with a port, said for the operator."""

from __future__ import annotations


class PortError(Exception):
    """A port could not be opened; `sentence` says why, and what would help where that is known."""

    def __init__(self, port: str, sentence: str) -> None:
        super().__init__(f"port {port}: {sentence}")
        self.port = port
        self.sentence = sentence
