"""docs/configuration.md, written from the models: `python -m vdp.config.reference > docs/configuration.md`.

A test holds the page to what this prints.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from vdp.config.describe import describe
from vdp.config.model import ARRAY_SECTIONS, TABLE_SECTIONS
from vdp.config.rules import RuleMatch

_HEAD = """\
# Configuration

`vdp -c FILE` reads one TOML file; `vdp check -c FILE` reads it, says what is wrong, and touches nothing.
All problems of a file are reported at once, each with its line:

    etc/vdp.toml:14:7: error: port[1].mtu: found 70000, expected at most 65535 [out-of-range]
       14 | mtu = 70000
          |       ^^^^^

Entries of a list count from 0. An unknown key is an error. Nothing is set up before the whole file is right.

A small one:

```toml
[[port]]
name = "tap0"
type = "tap"
address = ["10.10.0.1/24"]

[[port]]
name = "underlay"
type = "raw"
protocol = "gre"

[[link]]
name = "gt1"
kind = "gretap"
underlay = "underlay"
local = "192.0.2.1"
remote = "192.0.2.2"

[[bridge]]
name = "br0"
members = ["tap0", "gt1"]

[plugins]
load = ["gre", "gretap"]
```

`config_version = 1` may stand at the top; 1 is the only version there is.

`include = ["conf.d/*.toml"]` at the top puts in other files: paths from the file's own folder, `*`, `?` and
`**` for many, which come by name; one that is named in full must be there. Tables of which there are many
follow one another, the main file's first. Other tables may be continued in another file, but each key
stands in one of them; lists, such as `plugins.load`, are joined. What is wrong is said with its own file
and line. Included files include no others.

The names of ports, links and bridges are one namespace. A name is one that Linux takes for a device: 1 to
15 bytes, no `/`, `:`, `%` or blank.
"""

_AFTER = {
    "port": """\
A `raw` port has exactly one of `protocol` and `interface`. Two raw ports can not have the same one in one
namespace: each packet would come in twice. A port with an IPv6 address has an MTU of at least 1280.
""",
    "link": """\
The packet type of a link (L2 or L3) is its kind's: `gretap` carries frames, `gre` carries IP packets. A kind
must come from a plugin in `plugins.load`.
""",
    "bridge": """\
A port or link is in one bridge or connect at most.
""",
    "rule": """\
A rule is one of OVS: the highest priority that matches decides, and a packet that no rule takes goes on to
bridge, connect and routes. `eth_type` is implied by an IP address; `ip_proto` needs one of both, `tp_src`
and `tp_dst` need `ip_proto` (ovs-fields(7)).

| action | effect |
| --- | --- |
| `drop` | the packet is dropped as `policy_rule`; alone only |
| `output:NAME` | out of that port or link |
| `flood` | out of every other member of the in-port's bridge |
| `normal` | what would have happened without the rule |

    [[rule]]
    priority = 100
    match = { in_port = "tap0", eth_type = "arp" }
    actions = ["drop"]
""",
    "plugins": """\
A plugin's own table is `[plugin.NAME]`; it is for plugins in `load` only, and what is in it is theirs.
""",
}


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    value = field.get_default()
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        return f"`{value}`"
    return "`[]`" if value == () else f'`"{value}"`'


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | takes | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        if field.description:
            yield f"| `{name}` | {describe(field)} | {_default(model, name)} | {field.description} |"


def page() -> str:
    """The whole page."""
    lines = [_HEAD]
    for name, model in {**ARRAY_SECTIONS, **TABLE_SECTIONS}.items():
        title, _, words = (model.__doc__ or "").partition(": ")
        lines += [f"## {title}", "", words[:1].upper() + words[1:], "", *_table(model), ""]
        if name == "rule":
            lines += ["Fields of `match`:", "", *_table(RuleMatch), ""]
            lines += ["Other names in `match` are tables of metadata that plugins set, by plugin.", ""]
        if name in _AFTER:
            lines.append(_AFTER[name])
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
