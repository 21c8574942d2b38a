"""The headers of ERSPAN types II and III, as the package's drawing has them: include/net/erspan.h."""

from __future__ import annotations

from vdp.api import Bits, Header

TYPE_I, TYPE_II, TYPE_III = 0, 1, 2  # erspan_ver
SESSION_MOST = 0x3FF
#: VLAN tag preserved in the frame (enum erspan_encap_type).
IN_FRAME = 3
#: Frame type of Ethernet, the only one that a link can take.
ETHERNET_FRAME = 0
SUBHEADER_SIZE = 8


class Base(Header):
    """struct erspan_base_hdr."""

    version = Bits(4)
    vlan = Bits(12)
    cos = Bits(3)
    encapsulation = Bits(2)  # II: En, III: BSO
    truncated = Bits(1)
    session = Bits(10)


class Index(Header):
    """What follows in type II."""

    reserved = Bits(12)
    index = Bits(20)


class Detail(Header):
    """What follows in type III: struct erspan_md2."""

    timestamp = Bits(32)
    security_group = Bits(16)
    is_ethernet = Bits(1)  # P: the frame is one, with FT 0
    frame_type = Bits(5)
    hardware = Bits(6)
    direction = Bits(1)
    granularity = Bits(2)
    optional = Bits(1)


SIZES = {TYPE_II: Base.SIZE + Index.SIZE, TYPE_III: Base.SIZE + Detail.SIZE}
