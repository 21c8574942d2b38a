"""`vdp completion SHELL`: the script that has a shell complete vdp's commands, options and live names.

The script asks `vdp completion words vdp WORD…`, which prints what the last word may become: nothing of the
commands is written twice, and names are those of the daemon that runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from vdp.cli import exits
from vdp.cli.commands import COMMANDS, OWN, SocketUnknown, socket_path
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable

SCRIPTS = {
    "bash": """\
_vdp() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]}" completion words "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}
complete -o default -F _vdp vdp
""",
    "zsh": """\
#compdef vdp
_vdp() {
    local -a found
    found=("${(@f)$("${words[1]}" completion words "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _vdp vdp
""",
    "fish": """\
function __vdp_found
    set -g __vdp_words (vdp completion words (commandline -opc) (commandline -ct) 2>/dev/null)
    test -n "$__vdp_words[1]"
end
complete -c vdp -f -n __vdp_found -a '$__vdp_words'
""",
}
#: What names an operand: the method that lists them, and the column.
NAMES = {
    "PORT": ("port.show", "name"),
    "LINK": ("link.show", "name"),
    "LIST": ("handler.list", "list"),
    "HANDLER": ("handler.list", "name"),
    "PLUGIN": ("plugin.list", "name"),
    "BRIDGE": ("bridge.show", "bridge"),
}
#: A daemon that is busy must not hold up somebody who types.
TIMEOUT_S = 0.5


class _Shells(tuple[str, ...]):
    """The shells; `words` is taken as well, and offered to nobody: it is for the scripts."""

    def __contains__(self, word: object) -> bool:
        return word == "words" or super().__contains__(word)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_Shells(SCRIPTS), metavar="SHELL", help=", ".join(SCRIPTS))
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=completion)


def completion(arguments: argparse.Namespace) -> int:
    """Print the script, or what a word may become."""
    if arguments.shell != "words":
        print(SCRIPTS[arguments.shell], end="")
        return exits.OK
    *before, last = arguments.words[1:] or [""]
    for word in sorted(set(candidates(before, last.startswith("-")))):
        if word.startswith(last):
            print(word)
    return exits.OK


def candidates(before: Sequence[str], options: bool) -> Iterable[str]:
    """What may come behind those words: options, or else words and names."""
    from vdp.cli.arguments import build_parser, noun_of

    before, second = _joined(before)
    noun = noun_of(before) if before else ""
    parser = build_parser(noun or "")
    place = 0
    waiting: argparse.Action | None = None  # an option that has not got its value
    given: dict[str, str] = {}
    for word in before:
        if waiting is not None:
            given[waiting.dest], waiting = word, None
        elif word.startswith("-"):
            option = _options(parser).get(word)
            waiting = option if option is not None and option.nargs is None else None
        else:
            choices = _positionals(parser)
            verbs = choices[place].choices if place < len(choices) else None
            if isinstance(verbs, dict) and word in verbs:
                parser, place = verbs[word], 0
            else:
                place += 1
    if waiting is not None:
        return [str(choice) for choice in waiting.choices or ()] or _names(str(waiting.metavar), given)
    if options:
        return _options(parser)
    left = _positionals(parser)[place:]
    if not left:
        return second
    if isinstance(left[0].choices, dict) and not noun:
        return [command.noun.split()[0] for command in (*COMMANDS, *OWN)]
    if left[0].choices is not None:
        return [str(choice) for choice in left[0].choices]
    return [*second, *_names(str(left[0].metavar), given)]


def _joined(before: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words, a noun of two of them as one; and what may make the last one such a noun."""
    pairs = [tuple(command.noun.split()) for command in OWN if " " in command.noun]
    for at in range(len(before) - 1):
        if tuple(before[at : at + 2]) in pairs:
            return [*before[:at], " ".join(before[at : at + 2]), *before[at + 2 :]], ()
    return before, [second for first, second in pairs if before and before[-1] == first]


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {word: action for action in parser._actions for word in action.option_strings}


def _positionals(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]


def _names(metavar: str, given: dict[str, str]) -> Iterable[str]:
    """Live names, of the daemon that the words before name; none where nobody answers."""
    if metavar == "NAME":
        from vdp.explain.catalogue import names

        return [name for _, name in names()]
    if metavar not in NAMES:
        return ()
    method, column = NAMES[metavar]
    from pathlib import Path

    config = Path(given["config"]) if "config" in given else None
    asked = argparse.Namespace(socket=given.get("socket"), config=config)
    try:
        rows = call(socket_path(asked), method, timeout_s=TIMEOUT_S)
    except (ControlError, DaemonUnreachable, SocketUnknown):
        return ()
    return [row[column] for row in rows]
