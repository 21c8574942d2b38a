"""The VXLAN header, RFC 7348 section 5."""

from __future__ import annotations

from vdp.api import Bits, Header

#: UDP port of VXLAN (IANA; Linux's own default is 8472, from before there was one).
VXLAN_PORT = 4789


class VxlanHeader(Header):
    """`valid` is the I flag: there is a VNI."""

    reserved1 = Bits(4)
    valid = Bits(1)
    reserved2 = Bits(27)
    vni = Bits(24)
    reserved3 = Bits(8)
