"""Hypothesis strategies: headers as they are declared, whole packets, and broken ones.

    @patient
    @given(broken(gre_packets(headers(Shim, version=1), protocol=0x88B5)))
    def test_nothing_hurts(plane, packet): ...

A header class is all that is needed: `headers(Shim)` gives its bytes with any value in each
field, its edges (0, all ones, one above and below them) more often than the rest.  Needs the
package hypothesis (the extra `vdp[test]`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from vdp.header import Field, Header, Octets
from vdp.testing import builders

#: Over `@given` where a test has a dataplane: it is a fixture that examples share on purpose, and
#: how long the first of them takes says nothing.
patient = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

Given: TypeAlias = "int | bytes | SearchStrategy[int] | SearchStrategy[bytes]"
#: Bytes of a payload, and that a broken packet may be longer than a good one.
MOST_PAYLOAD, MOST_LONGER = 64, 64
A, B = "192.0.2.1", "192.0.2.2"


def field_values(field: Field[Any]) -> SearchStrategy[Any]:
    """Values that fit a field: numbers for Bits, bytes for Octets."""
    if isinstance(field, Octets):
        return st.binary(min_size=field.width // 8, max_size=field.width // 8)
    most = (1 << field.width) - 1
    edges = sorted({0, 1 & most, most - 1 if most > 1 else most, most, (most + 1) // 2})
    return st.one_of(st.sampled_from(edges), st.integers(0, most))


def values(kind: type[Header], **fields: Given) -> SearchStrategy[dict[str, Any]]:
    """A value for each field of a header; those that are named, as given: a value, or a strategy."""
    unknown = fields.keys() - kind.fields().keys()
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    return st.fixed_dictionaries(
        {
            name: _strategy(fields[name]) if name in fields else field_values(item)
            for name, item in kind.fields().items()
        }
    )


def headers(kind: type[Header], **fields: Given) -> SearchStrategy[bytes]:
    """The bytes of a header, with any values in the fields that are not named."""
    return values(kind, **fields).map(lambda given: kind.pack(**given))


def payloads() -> SearchStrategy[bytes]:
    """Some bytes, or none."""
    return st.binary(max_size=MOST_PAYLOAD)


def joined(*parts: bytes | SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Parts one behind the other: headers from the outside in, and a payload."""
    return st.tuples(*map(_strategy, parts)).map(b"".join)


def ipv4_packets(
    payload: bytes | SearchStrategy[bytes] | None = None,
    *,
    protocol: int | SearchStrategy[int],
    source: str = A,
    destination: str = B,
) -> SearchStrategy[bytes]:
    """IPv4 packets with a payload of that IP protocol, right in every field."""
    return st.builds(
        lambda data, number, ttl, tos, options: builders.ipv4(
            source, destination, data, protocol=number, ttl=ttl, tos=tos, options=options
        ),
        _strategy(payload if payload is not None else payloads()),
        _strategy(protocol),
        st.integers(1, 255),
        st.integers(0, 255),
        st.sampled_from([b"", b"\1\1\1\1"]),
    )


def ipv6_packets(
    payload: bytes | SearchStrategy[bytes] | None = None,
    *,
    next_header: int | SearchStrategy[int],
    source: str = "2001:db8::1",
    destination: str = "2001:db8::2",
) -> SearchStrategy[bytes]:
    """IPv6 packets with a payload of that next header, right in every field."""
    return st.builds(
        lambda data, number, limit, traffic_class: builders.ipv6(
            source, destination, data, next_header=number, hop_limit=limit, traffic_class=traffic_class
        ),
        _strategy(payload if payload is not None else payloads()),
        _strategy(next_header),
        st.integers(1, 255),
        st.integers(0, 255),
    )


def gre_packets(
    payload: bytes | SearchStrategy[bytes] | None = None,
    *,
    protocol: int | SearchStrategy[int],
    key: int | SearchStrategy[int | None] | None = None,
    source: str = B,
    destination: str = A,
) -> SearchStrategy[bytes]:
    """GRE over IPv4, from `source` to `destination`: with checksum and without, numbered or not."""
    carried = st.builds(
        lambda data, number, tag, sequence, csum: builders.gre(
            data, number, key=tag, sequence=sequence, csum=csum
        ),
        _strategy(payload if payload is not None else payloads()),
        _strategy(protocol),
        key if isinstance(key, SearchStrategy) else st.just(key),
        st.one_of(st.none(), st.integers(0, 0xFFFFFFFF)),
        st.booleans(),
    )
    return ipv4_packets(carried, protocol=builders.IP_GRE, source=source, destination=destination)


def broken(packets: bytes | SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Packets that were cut, lengthened, or had some bits flipped or bytes overwritten."""
    return _strategy(packets).flatmap(
        lambda data: st.one_of(_cut(data), _lengthened(data), _flipped(data), _overwritten(data))
    )


def _cut(data: bytes) -> SearchStrategy[bytes]:
    return st.integers(0, max(0, len(data) - 1)).map(lambda size: data[:size])


def _lengthened(data: bytes) -> SearchStrategy[bytes]:
    return st.binary(min_size=1, max_size=MOST_LONGER).map(lambda tail: data + tail)


def _flipped(data: bytes) -> SearchStrategy[bytes]:
    def flip(places: list[int]) -> bytes:
        number = int.from_bytes(data, "big")
        for place in places:
            number ^= 1 << place
        return number.to_bytes(len(data), "big")

    bits = st.integers(0, max(0, len(data) * 8 - 1))
    return st.lists(bits, min_size=1, max_size=4, unique=True).map(flip) if data else st.just(data)


def _overwritten(data: bytes) -> SearchStrategy[bytes]:
    def overwrite(at: int, piece: bytes) -> bytes:
        return (data[:at] + piece + data[at + len(piece) :])[: len(data)]

    edges = st.sampled_from([b"\0\0", b"\xff\xff", b"\0", b"\xff"])
    pieces = st.one_of(edges, st.binary(min_size=1, max_size=4))
    return st.builds(overwrite, st.integers(0, max(0, len(data) - 1)), pieces)


def _strategy(given: Any) -> SearchStrategy[Any]:
    return given if isinstance(given, SearchStrategy) else st.just(given)
