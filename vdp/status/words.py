"""Numbers as people read them."""

from __future__ import annotations

_PREFIXES = ("", "k", "M", "G", "T", "P")


def short(value: float) -> str:
    """Three digits and a prefix of a thousand: 1.23 M."""
    if 0 < value < 1:
        return f"{value:.1g}"
    for prefix in _PREFIXES:
        if value < 999.5 or prefix == _PREFIXES[-1]:
            break
        value /= 1000
    digits = 0 if not prefix and value == int(value) else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {prefix}".rstrip()


def rate(packets: float) -> str:
    """Packets a second."""
    return f"{short(packets)} pps" if packets else "0"


def bits(octets: float) -> str:
    """Bits a second, of bytes a second."""
    return f"{_unit(short(8 * octets))}bit/s" if octets else "0"


def size(octets: float) -> str:
    return f"{_unit(short(octets))}B"


def _unit(text: str) -> str:
    """The prefix stands at the unit: 1.23 Mbit/s."""
    return text if text[-1].isalpha() else f"{text} "


def ago(seconds: float) -> str:
    """Time that has passed, in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
