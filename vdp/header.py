"""Headers, declared once: reading a field of one is a guard, pushing one is an action.

    class GreBase(Header):
        flags = Bits(16)
        protocol = Bits(16)

    gre = packet.header(GreBase)            # the packet is long enough, or it is dropped
    if gre.protocol == 0x6558: ...          # a guard on 16 bits
    GreBase.push(packet, flags=0, protocol=0x6558)

Fields are laid out in the order of their declaration, most significant bit first.
A header keeps its place: fields of an outer header can be read after it was pulled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from vdp.trace import TraceError

if TYPE_CHECKING:
    from vdp.packet import Packet, Place

Value = TypeVar("Value", int, bytes)


class Field(Generic[Value]):
    """A run of bits in a header.  On a header it is its value; on the class, itself."""

    name: str
    start: int  # in bits from the header's front

    def __init__(self, width: int) -> None:
        self.width = width

    def __set_name__(self, owner: type[Header], name: str) -> None:
        self.name = name
        self.start = owner.__dict__.get("_bits", 0)
        owner._bits = self.start + self.width

    @property
    def offset(self) -> int:
        """Bytes from the header's front to the byte where the field begins."""
        return self.start // 8

    def decode(self, value: int) -> Value:
        raise TypeError("a field is Bits or Octets")

    def encode(self, value: Value) -> int:
        raise TypeError("a field is Bits or Octets")

    @overload
    def __get__(self, header: None, owner: type[Header]) -> Self: ...
    @overload
    def __get__(self, header: Header, owner: type[Header]) -> Value: ...
    def __get__(self, header: Header | None, owner: type[Header]) -> Self | Value:
        if header is None:
            return self
        label = f"{owner.__name__}.{self.name}"
        return self.decode(header.packet.read_bits(header.place, self.start, self.width, label))


class Bits(Field[int]):
    """An unsigned number of `width` bits, big-endian (numbers, flags, IPv4 and IPv6 addresses)."""

    def decode(self, value: int) -> int:
        return value

    def encode(self, value: int) -> int:
        if not 0 <= value < 1 << self.width:
            raise ValueError(f"{self.name}: {value} does not fit {self.width} bits")
        return value


class Octets(Field[bytes]):
    """`size` bytes as they stand (MAC addresses)."""

    def __init__(self, size: int) -> None:
        super().__init__(size * 8)

    def decode(self, value: int) -> bytes:
        return value.to_bytes(self.width // 8, "big")

    def encode(self, value: bytes) -> int:
        if len(value) * 8 != self.width:
            raise ValueError(f"{self.name}: {len(value)} bytes, {self.width // 8} needed")
        return int.from_bytes(value, "big")


@dataclass(frozen=True, slots=True)
class FillLength:
    """A 16-bit field: bytes from `start` (from this header's front) to the end, plus `addend`."""

    start: int = 0
    addend: int = 0


@dataclass(frozen=True, slots=True)
class FillId:
    """A 16-bit field: the next number of an engine state (IPv4 identification)."""

    state: int


@dataclass(frozen=True, slots=True)
class FillSequence:
    """A 32-bit field: the next number of an engine state (GRE sequence)."""

    state: int


@dataclass(frozen=True, slots=True)
class FillState:
    """A 32-bit field: the number of an engine state plus `addend`, which leaves the state as it is.

    Of a state that `require_sequence` keeps, -1 gives the highest number received.
    """

    state: int
    addend: int = 0


@dataclass(frozen=True, slots=True)
class FillChecksum:
    """A 16-bit field: internet checksum over `size` bytes from `start` (0: to the packet's end)."""

    start: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class FillCopy:
    """An 8-bit field: the byte `distance` behind this header's front, masked (ttl or tos inherit)."""

    distance: int
    mask: int = 0xFF


@dataclass(frozen=True, slots=True)
class FillHash:
    """The masked bits of a 16-bit field: a hash of `size` bytes (4, 8 … 64), `distance` behind this front."""

    distance: int
    size: int
    mask: int = 0xFFFF


Fill = FillLength | FillId | FillSequence | FillState | FillChecksum | FillCopy | FillHash


class Header:
    """A header at a place of a packet.  Subclasses declare fields; SIZE is in bytes."""

    SIZE: ClassVar[int] = 0
    _bits: ClassVar[int] = 0
    __slots__ = ("packet", "place")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls._bits % 8:
            raise TypeError(f"{cls.__name__}: {cls._bits} bits are not whole bytes")
        cls.SIZE = cls._bits // 8

    def __init__(self, packet: Packet, place: Place) -> None:
        self.packet = packet
        self.place = place

    @property
    def offset(self) -> int:
        """Bytes from the packet's present front; TraceError where the header was pulled."""
        return self.packet.offset_of(self.place)

    @classmethod
    def fields(cls) -> dict[str, Field[Any]]:
        """The declared fields by name, in wire order."""
        return {name: item for name, item in vars(cls).items() if isinstance(item, Field)}

    @classmethod
    def pack(cls, **values: int | bytes) -> bytes:
        """The header's bytes; fields not named are zero.  TypeError for a name it has not."""
        fields = cls.fields()
        number = 0
        for name, value in values.items():
            item = fields.get(name)
            if item is None:
                raise TypeError(f"{cls.__name__} has no field {name!r}; it has {', '.join(fields)}")
            number |= item.encode(value) << (cls._bits - item.start - item.width)
        return number.to_bytes(cls.SIZE, "big")

    @classmethod
    def push(cls, packet: Packet, tail: bytes = b"", **values: int | bytes | Fill) -> None:
        """Put the header (then `tail`: options) in front of the packet.

        A value may be a Fill: the engine then writes the field for each packet.
        Lengths, numbers and copies are written first, checksums last.
        """
        fills = {n: v for n, v in values.items() if isinstance(v, Fill)}
        constants = {n: v for n, v in values.items() if not isinstance(v, Fill)}
        packet.push(cls.pack(**constants) + tail)
        fields = cls.fields()
        for name, fill in sorted(fills.items(), key=lambda item: isinstance(item[1], FillChecksum)):
            target = fields[name]
            if target.start % 8:
                raise TraceError(f"{cls.__name__}.{name} does not start on a byte: it can not be filled in")
            packet.fill(target.offset, fill)

    def set(self, **values: int | bytes) -> None:
        """Write fields in place.  A field named `checksum` of the same header is kept right."""
        fields = type(self).fields()
        mask = number = 0
        for name, value in values.items():
            item = fields.get(name)
            if item is None:
                raise TypeError(f"{type(self).__name__} has no field {name!r}")
            shift = self._bits - item.start - item.width
            mask |= ((1 << item.width) - 1) << shift
            number |= item.encode(value) << shift
        mask_bytes = mask.to_bytes(self.SIZE, "big")
        value_bytes = number.to_bytes(self.SIZE, "big")
        first = next(i for i, b in enumerate(mask_bytes) if b)
        last = max(i for i, b in enumerate(mask_bytes) if b) + 1
        checksum = fields.get("checksum")
        self.packet.set(
            self.offset + first,
            mask_bytes[first:last],
            value_bytes[first:last],
            checksum=self.offset + checksum.offset if checksum is not None else None,
        )


def header_kinds(kind: type[Header] = Header) -> Iterator[type[Header]]:
    """Every declared header: those of vdp and of the plugins that were imported."""
    for each in kind.__subclasses__():
        yield each
        yield from header_kinds(each)
