"""tcpdump's filter expressions, compiled by libpcap (pcap-filter(7)) for the engine's taps."""

from __future__ import annotations

import ctypes

from vdp.engine.tap import Instruction

_LIBRARIES = ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so")
_DLT_EN10MB, _DLT_RAW = 1, 12
_SNAP = 262144
_NONE: list[Instruction] = [(6, 0, 0, 0)]  # ret #0


class ExpressionError(Exception):
    """It is no filter, or there is nobody to compile it; `hint` says what would help."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compile_expression(text: str) -> tuple[list[Instruction], list[Instruction]]:
    """Programs for frames and for bare IP packets.

    What can only be said of frames (`ether host …`) takes no packet; ExpressionError where it
    makes sense for neither.
    """
    library = _library()
    frames, reason = _compile(library, text, _DLT_EN10MB)
    packets, _ = _compile(library, text, _DLT_RAW)
    if frames is None and packets is None:
        raise ExpressionError(f"{text!r} is no filter: {reason}", "man 7 pcap-filter says what one is")
    return frames or _NONE, packets or _NONE


def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
        library.pcap_compile.argtypes = (
            ctypes.c_void_p, ctypes.POINTER(_Program), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint,
        )  # fmt: skip
        library.pcap_geterr.restype = ctypes.c_char_p
        library.pcap_geterr.argtypes = (ctypes.c_void_p,)
        library.pcap_close.argtypes = (ctypes.c_void_p,)
        library.pcap_freecode.argtypes = (ctypes.POINTER(_Program),)
        return library
    raise ExpressionError(
        "filters are compiled by libpcap, which is not installed", "apt install libpcap0.8 installs it"
    )


def _compile(library: ctypes.CDLL, text: str, link_type: int) -> tuple[list[Instruction] | None, str]:
    handle = library.pcap_open_dead(link_type, _SNAP)
    program = _Program()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, 0xFFFFFFFF) != 0:
            return None, library.pcap_geterr(handle).decode(errors="replace")
        made = [(one.code, one.jt, one.jf, one.k) for one in program.instructions[0 : program.count]]
        library.pcap_freecode(ctypes.byref(program))
        return made, ""
    finally:
        library.pcap_close(handle)
