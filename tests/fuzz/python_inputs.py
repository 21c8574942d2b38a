"""What the harnesses in Python begin with, and words that lead somewhere."""

from __future__ import annotations

from tests.fuzz import netlink_messages

TOML = (
    b'[[port]]\nname = "tap0"\ntype = "tap"\naddress = ["10.0.0.1/24", "fd00::1/64"]\nmtu = 1462\n',
    b'[[link]]\nname = "gt1"\nkind = "gretap"\nlocal = "192.0.2.1"\nremote = "192.0.2.2"\nkey = 42\n',
    b'[[rule]]\npriority = 100\nmatch = { in_port = "tap0", eth_type = "arp" }\nactions = ["drop"]\n',
    b'[plugins]\nload = ["gre", "wccp"]\n[metrics]\nlisten = "127.0.0.1:9479"\n',
    b"a.b.'c d'.\"e\" = [ { x = 1, y = [ 1, 2.5e3, nan ] }, 1979-05-27 ] # comment\nz = '''\na\n'''\n",
    b'[a]\n[a.b]\n[[a.c]]\nx = """\\\n  \\u00e9 """\n[[a.c]]\ny = 0xff_ff\nt = true\n',
)
REQUESTS = (
    b'{"id": 1, "method": "port.show", "params": {"name": "tap0"}}',
    b'{"id": "x", "method": "flow.dump", "params": {"sort": "packets", "name": "underlay"}}',
    b'{"method": "capture", "params": {"at": ["rx", "drop"], "count": 5, "snaplen": 60, "follow": true, '
    b'"filters": [[[6, 0, 0, 1]], [[48, 0, 0, 9], [21, 0, 1, 47], [6, 0, 0, 1], [6, 0, 0, 0]]]}}',
    b'{"method": "flow.asked", "params": {"flows": [1, 2]}}',
    b'{"method": "drop.show", "params": {"reasons": ["no_port"], "link": null, "port": null}}',
    *(
        b'{"method": "%s"}' % name
        for name in (b"status", b"link.show", b"route.show", b"bridge.macs", b"rule.show")
    ),
)
EXPRESSIONS = (
    b"ip(src=192.0.2.1, dst=192.0.2.2, ttl=64)/gre(key=42, csum=yes, seq=7)/ip()/tcp(dport=80, flags=syn)",
    b"eth(dst=02:00:00:00:00:01)/vlan(id=5)/ip6(src=fd00::1)/udp(sport=1)/payload(hex=00ff, size=100)",
    b'ip()/udp()/raw("abc")',
    b"arp(op=request)/payload(text='x')",
    b"ip(proto=47, tos=0x12)/icmp(type=8)",
)
FILTERS = (
    b"ip proto 47 and src net 10.0.0.0/8",
    b"tcp port 80 or udp portrange 1-9",
    b"ether host 02:00:00:00:00:01",
    b"vlan 5 and ip6",
    b"ip[6:2] & 0x1fff != 0",
    b"greater 100 and not (arp or icmp)",
    b"len > 5 * 7",
)
PACKETS = tuple(
    bytes.fromhex(text)
    for text in (
        "02000000000102000000000208004500003400010000402f0000c0000201c00002022000655800000007",
        "02000000000102000000000281000005"
        "86dd"
        "6000000000080640" + "20" * 32 + "03e8005000000001"
        "0000000050120000",
        "4500002000010000401100000a0000010a00000212b50007000c000001020304",
        "450000440001000040010000010203040506070803010000000000004500002000010000",
        "600000000028000020" + "00" * 31 + "3a000502000000008000000000000000",
        "ffffffffffff020000000002080600010800060400010200000000020a0000010000000000000a000002",
    )
)
SOURCES = (
    b"vdp_api = 1\nx = [1, 2, {'a': (3, 4)}]\ndef f(a, *b):\n    return lambda: a\n",
    b"'''doc'''\nfrom a import b\nvdp_api: int = 2\nclass C:\n    y = 'z'\n",
    b"# coding: latin-1\nvdp_api = other = 3\n",
    b"vdp_api = " + b"-" * 300 + b"1\n",
    b"vdp_api = " + b"(" * 150 + b")" * 150 + b"\n",
)
WORDS_OF: dict[str, tuple[bytes, ...]] = {
    "toml": (
        b"[[",
        b"]]",
        b"= ",
        b"'''",
        b'"""',
        b"\\u0041",
        b"inf",
        b"-",
        b"\r\n",
        b"{",
        b"}",
        b"\xc3\xa9",
        b"[",
    ),
    "control": (
        b"null",
        b"true",
        b"[]",
        b"{}",
        b"1e999",
        b"NaN",
        b'"\\ud800"',
        b"[" * 3000,
        b"-1",
        b"4294967296",
    ),
    "expression": (
        b"/",
        b"gre",
        b"ip6",
        b"(",
        b")",
        b"=",
        b'"',
        b"raw",
        b"size",
        b"65535",
        b"len",
        b"\xf0\x9f\x98\x80",
    ),
    "filter-words": (
        b" and ",
        b" or ",
        b" not ",
        b"(",
        b")",
        b"[",
        b"]",
        b"0x",
        b"4294967296",
        b"ip6",
        b"mpls",
        b"geneve",
    ),
    "summary": (
        b"\x2f",
        b"\x06",
        b"\x11",
        b"\x3a",
        b"\x08\x00",
        b"\x86\xdd",
        b"\x65\x58",
        b"\x81\x00",
        b"\xff",
    ),
    "metadata": (
        b"vdp_api",
        b"=",
        b"(" * 90,
        b"-" * 2000,
        b"\x00",
        b"\xff",
        b"\\\n",
        b"    ",
        b"if x:\n" * 50,
    ),
    "netlink": netlink_messages.WORDS,
}
SEEDS: dict[str, tuple[bytes, ...]] = {
    "toml": TOML,
    "control": REQUESTS,
    "expression": EXPRESSIONS,
    "filter-words": FILTERS,
    "summary": PACKETS,
    "metadata": SOURCES,
    "netlink": netlink_messages.SEEDS,
}
