"""Configuration errors by kind, the word in brackets behind a message: what each means, causes, "
"what to do."""

from __future__ import annotations

from collections.abc import Mapping

_KEYS = "docs/configuration.md has every key; `vdp config schema` has it for editors"
_PLUGINS = "`vdp plugin list` shows what is installed"

#: By kind: (meaning, cause, what to do).
CONFIGURATION: Mapping[str, tuple[str, str, str]] = {
    "not-readable": (
        "The file can not be read.",
        "It is not there, is a folder, is larger than 4 MiB, or its permissions forbid it.",
        "Look at the path: `ls -l FILE`.",
    ),
    "not-toml": (
        "The text is not TOML, or not UTF-8.",
        "A quote, bracket or value is missing, a table is there twice, or an editor saved another encoding.",
        "The caret shows where the reader stopped; the mistake is there or on the line before. "
        "Nothing else of the file is checked before it is TOML.",
    ),
    "unknown-key": (
        "There is no such key or table here.",
        "A typing mistake, a key of another table, or a key of a later version.",
        f"Take the key that the hint proposes. {_KEYS}.",
    ),
    "missing-key": (
        "A key that the table must have is not there.",
        "It was forgotten, or stands under another table: in TOML a key belongs to the last [table] "
        "above it.",
        f"Add it. {_KEYS}.",
    ),
    "wrong-type": (
        "The value is of another type: a string for a number, a number for a list.",
        'Quotes too many or too few, 1 for true, or "a" for ["a"].',
        "Write it as the hint says.",
    ),
    "wrong-value": (
        "The value is not one of those that the key takes.",
        "A typing mistake, an address without its prefix length, or host bits in a network.",
        f"Write what the message expects. {_KEYS}.",
    ),
    "out-of-range": (
        "A number is too small or too large, or a list too short or too long.",
        "A wrong unit (the key's name has it: _ms, _s), or a digit too many.",
        "Take a number within the bounds that the message names.",
    ),
    "wrong-shape": (
        "A table was written where tables belong, or the other way round.",
        "[[port]] is one of many, [log] is the only one; [plugin.NAME] is a plugin's own.",
        "Write the brackets as the message says.",
    ),
    "contradiction": (
        "Keys of one table do not go together.",
        "One asks for what another rules out.",
        "Take one of them away; the message says which belong together.",
    ),
    "misplaced-key": (
        "The key is for ports of another type.",
        "A port was changed from one type to another, or copied.",
        f"Take the key away, or change the type. {_KEYS}.",
    ),
    "name-taken": (
        "Two ports, links or bridges have one name.",
        "A table was copied. All three share their names, since rules and members do not say which "
        "they mean.",
        "Rename one, and where it is meant.",
    ),
    "unknown-name": (
        "No port or link has this name.",
        "A typing mistake, or the port or link was renamed or taken away.",
        "Take the name that the hint proposes, or add the port or link.",
    ),
    "member-twice": (
        "A port or link is in two bridges or connects.",
        "What comes in by it can go one way only.",
        "Take it out of one of them.",
    ),
    "wrong-layer": (
        "Frames (L2) and bare packets (L3) are put together.",
        "A `tap`, `gretap` or raw `interface` is L2, a `tun` and `gre` L3.",
        "Bridge L2 with L2; route or connect L3 with L3. `gretap` in place of `gre` carries frames.",
    ),
    "no-underlay": (
        "The link has no port that could carry it.",
        "`underlay` names a TAP or TUN, a bridge, another link, or nothing that is there.",
        'Name a port of type raw: protocol = "gre", or interface = "eth0".',
    ),
    "wrong-family": (
        "IPv4 and IPv6 are put together.",
        "A tunnel over one family on a raw socket of the other; or a next hop of another family.",
        '`family = "ipv6"` on the port for ip6gre and ip6gretap; or the other kind of link.',
    ),
    "udp-underlay": (
        "A tunnel in UDP needs an underlay with `interface`.",
        "A raw socket of one IP protocol carries no UDP.",
        'Make the underlay interface = "eth0", or take encap away.',
    ),
    "same-link": (
        "Two links would claim the same packets.",
        "Same kind, underlay, ends and received key; as EEXIST of `ip link add`.",
        "Give one of them another `key`, `local` or `remote`.",
    ),
    "other-device": (
        "The tunnel is bound to a device that its underlay does not send by.",
        "`link` names another device than the `interface` of the port.",
        "Name the same device, or take an underlay with `protocol`.",
    ),
    "received-twice": (
        "Two raw ports receive the same packets.",
        "Each packet would come in twice, and be forwarded twice.",
        "One port carries any number of links: let both name it as underlay.",
    ),
    "address-twice": (
        "Two ports of one namespace have one address.",
        "A table was copied.",
        "Give one another address, or put it into another namespace (`netns`).",
    ),
    "same-route": (
        "Two routes lead to one destination with one metric.",
        "Which of them is used could not be said.",
        "Take one away, or give one a `metric`: the lower is used.",
    ),
    "impossible-rule": (
        "The rule can never match, is there twice, or does what contradicts itself.",
        "A field without what it depends on (tp_dst without ip_proto), `drop` among other actions, "
        "or a layer "
        "that the in-port has not.",
        "Add the field that the hint names (ovs-fields(7): prerequisites), or take one away.",
    ),
    "unknown-kind": (
        "No loaded plugin has this kind of link.",
        "A typing mistake, or its plugin is not in `[plugins] load`.",
        f"Add the plugin to `[plugins] load`. {_PLUGINS}.",
    ),
    "unknown-action": (
        "No loaded plugin has this action of rules, or it refuses the argument.",
        "A typing mistake, or its plugin is not in `[plugins] load`.",
        f"The hint names the actions that there are. {_PLUGINS}.",
    ),
    "plugin-fails": (
        "A plugin of `[plugins] load` can not be loaded.",
        "It is not installed, was made for another version of vdp, or raises when it is imported.",
        f"{_PLUGINS}; `vdp plugin info NAME` what it says of itself, `vdp plugin test NAME` whether "
        "it works.",
    ),
    "plugin-not-loaded": (
        "A table or match names a plugin that is not loaded.",
        "A typing mistake, or it is not in `[plugins] load`: nothing unlisted is imported.",
        "Add it to `[plugins] load`.",
    ),
    "listed-twice": (
        "A plugin or a file is listed twice.",
        "A list was copied together.",
        "Take one of them away.",
    ),
    "key-twice": (
        "The key is in two of the files that `include` puts together.",
        "A part of the configuration was copied to a file of its own, and left where it was.",
        "Take one of them away: only lists and tables that there are many of are joined.",
    ),
    "open-tunnel": (
        "A link takes packets from whoever sends some, and nothing says that this is meant.",
        "`remote` is left out or any, or `fallback = true`: addresses and keys are no secrets, so whoever "
        "reaches the underlay can send into the network behind the link (VU#199397).",
        "Name the other end with `remote`. If there are many, and not known: `allow_any_remote = true`, "
        "and with `inner_allowed` the sources that may be inside.",
    ),
    "exposed": (
        "Something is open that is closed by default. It is a warning, and refuses nothing.",
        "Metrics on an address that others reach, workers that are not confined, or all capabilities kept.",
        "Take the key away, or see that only those reach it who should.",
    ),
    "at-start-only": (
        "The key is read when vdp starts, and can not be changed by a reload.",
        "Pools, tables and sockets are made once; capabilities that nothing needs are given up for good.",
        "Restart vdp to have it changed, or put the old value back.",
    ),
}
