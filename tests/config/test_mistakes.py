"""Planted mistakes, alone and many in one file: each reported at its line, of its kind, with the cure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.config.conftest import kinds
from tests.config.planted import MANY, MISTAKES, Mistake
from tests.lab import REPOSITORY
from vdp.config import Config, ConfigError, LinkKindInfo, PluginsFailed, PluginsSection, Problem, load
from vdp.explain.configuration import CONFIGURATION
from vdp.loader import Plugins

Problems = Callable[[str], list[Problem]]


def planted(text: str) -> dict[tuple[int, str], tuple[str, str]]:
    """(line, key) of each mistake that the text announces, with pieces of message and hint."""
    found = {}
    place = 0
    for number, line in enumerate(text.splitlines(), 1):
        place = place if line.startswith("#!") else number
        for note in line.split("#!")[1:]:
            key, message, hint = (piece.strip() for piece in note.split("|"))
            found[place, key] = (message, hint)
    return found


def without_plugins_mistakes(text: str) -> str:
    """The mistakes in [plugins] leave the kinds unknown, so they are planted in a file of their own."""
    return text.replace('"gretap", "gre"]', '"gretap"]').replace('strict = "false"', "strict = false")


def agree(text: str, problems: list[Problem], notes: dict[tuple[int, str], tuple[str, str]]) -> None:
    reported = {(problem.line, problem.key): problem for problem in problems}
    assert reported.keys() == notes.keys()
    assert len(reported) == len(problems), "no mistake is reported twice"
    for place, (message, hint) in notes.items():
        assert message in reported[place].message, place
        assert hint in reported[place].hint, place
        assert reported[place].source == text.splitlines()[place[0] - 1]


def test_every_planted_mistake_is_reported_in_one_run_at_its_line(problems: Problems) -> None:
    text = without_plugins_mistakes(MANY)
    notes = {place: note for place, note in planted(text).items() if not place[1].startswith("plugins.")}
    assert len(notes) >= 55
    agree(text, problems(text), notes)


def test_a_wrong_plugins_section_hides_only_what_depends_on_it(problems: Problems) -> None:
    dependent = ("link[", "plugin.", "plugins.load[2]", "rule[4].match.gred", "bridge[0].members[2]")
    found = {(problem.line, problem.key) for problem in problems(MANY)}
    wanted = {place for place in planted(MANY) if not place[1].startswith(dependent)}
    assert any(key == "plugins.strict" for _, key in found)
    assert {place for place in wanted if place[1].startswith(("port", "engine", "log"))} <= found


def test_a_doubled_plugin_is_reported(problems: Problems) -> None:
    (problem,) = problems('[plugins]\nload = ["gre", "wccp", "gre"]\n')
    assert (problem.line, problem.column, problem.key) == (2, 24, "plugins.load[2]")


def test_keys_of_a_plugins_table_of_tables_are_known(problems: Problems) -> None:
    text = '[plugins]\nload = ["wccp"]\n[plugin.wccp.peer.one]\nwieght = 1\n[plugin.wccp.peer.two]\nx = 1\n'
    near, far = problems(text)
    assert (near.line, near.key) == (4, "plugin.wccp.peer.one.wieght")
    assert near.hint == 'did you mean "weight"?'
    assert (far.line, far.hint) == (6, "keys here: weight, share")


def test_a_problem_reads_like_a_compilers(problems: Problems) -> None:
    (problem,) = problems('[[port]]\nname = "tap0"\ntype = "tap"\n\tmtu = 70000 # big\n')
    file = problem.file
    assert problem.render().splitlines() == [
        f"{file}:4:8: error: port[0].mtu: found 70000, expected at most 65535 [out-of-range]",
        "    4 | \tmtu = 70000 # big",
        "      | \t      ^^^^^",
    ]
    (problem,) = problems('[[port]]\nname = "tap0"\ntype = "tpa"\n')
    assert problem.render().splitlines()[-1] == '      = hint: did you mean "tap"?'
    assert problem.as_json()["expected"] == 'one of "tap", "tun", "raw", "gro-cell", "memory"'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\nb = [1,\n}", 3, "not TOML: invalid value"),
        ("[log]\nlevel = \n", 2, "not TOML: invalid value"),
        ("[log\n", 1, "not TOML: expected ']'"),
        ('x = """\nno end\n', 2, "not TOML"),
        ("[log]\n[log]\n", 2, "not TOML: cannot declare"),
        ("a = 1\r\nb = \r\n", 2, "not TOML: invalid value"),
        ("a = " + "9" * 5000, 1, "not TOML"),
        ("a = " + "[" * 20000, 1, "nested too deeply"),
        ("plugin = 3\n", 1, "expected tables [plugin.NAME]"),
        ("[plugin]\ngre = 3\n", 2, "expected a table"),
        ("[port]\nname = 'x'\n", 1, "expected tables [[port]]"),
        ("[[log]]\n", 1, "expected one table [log]"),
        ("log = 3\n", 1, "expected a table"),
        ("port = [3]\n", 1, "expected a table"),
        ("config_version = true\n", 1, "expected 1"),
    ],
)
def test_what_is_not_the_shape_of_a_configuration_has_a_line(
    problems: Problems, text: str, line: int, message: str
) -> None:
    first = problems(text)[0]
    assert (first.line, message in first.message) == (line, True), first


def test_bytes_that_are_no_text_have_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = 1\nb = '\xc3\xa9\xff'\n")
    with pytest.raises(ConfigError) as caught:
        load(path, lambda plugins: {})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, 7)


def test_a_file_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: error: can not be read: No such file"):
        load(tmp_path / "absent.toml", lambda plugins: {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path, lambda plugins: {})


def test_plugins_that_do_not_load_are_problems_of_their_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(
        '[plugins]\nload = [\n  "gre",\n  "gretpa",\n  "wcpp",\n]\n[log]\nlevel = 1\n'
        '[[link]]\nname = "a"\nkind = "gretap"\nunderlay = "b"\n'
        '[[link]]\nname = "c"\nkind = "gre"\nunderlay = "b"\nkeys = 4\n'
    )

    def failing(plugins: PluginsSection) -> Mapping[str, LinkKindInfo]:
        raise PluginsFailed({"gretpa": "not installed", "wcpp": "broken"}, kinds(plugins))

    with pytest.raises(ConfigError) as caught:
        load(path, failing)
    assert [(p.line, p.key) for p in caught.value.problems] == [
        (4, "plugins.load[1]"),
        (5, "plugins.load[2]"),
        (8, "log.level"),
        (12, "link[0].underlay"),  # and not its kind, which a failed plugin may have
        (16, "link[1].underlay"),
        (17, "link[1].keys"),
    ]
    assert caught.value.problems[0].message == "not installed"


def test_control_bytes_of_a_file_do_not_reach_the_terminal(parse: Callable[[str], Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse('[[port]]\nname = "\\u001b[31m"\ntype = "tap"\n"\\u001b]0;x\\u0007" = 1\n')
    assert not any(ord(c) < 32 and c != "\n" for c in str(caught.value))


def reported(path: Path) -> tuple[Problem, ...]:
    """What `vdp check` would report, with the plugins that are installed."""
    plugins = Plugins()

    def kinds(section: PluginsSection) -> Mapping[str, LinkKindInfo]:
        failures = plugins.load(section.load)
        if failures:
            sentences = {failure.plugin: str(failure) for failure in failures}
            raise PluginsFailed(sentences, plugins.kinds, plugins.infos)
        return plugins.kinds

    with pytest.raises(ConfigError) as refused:
        load(path, kinds, plugins.settings, lambda: plugins.actions)
    return refused.value.problems


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what.replace(" ", "-"))
def test_a_mistake_is_reported_where_it_stands_with_the_cure(mistake: Mistake, tmp_path: Path) -> None:
    before, _, after = mistake.text.partition("¦")
    path = tmp_path / "vdp.toml"
    path.write_text(before + after)
    (problem,) = reported(path)
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    assert (problem.line, problem.column) == (line, column), problem.render()
    assert problem.kind == mistake.kind, problem.render()
    assert mistake.message in problem.message, problem.render()
    assert mistake.hint in problem.hint, problem.render()


def test_thirty_mistakes_and_more_are_planted_nearly_all_with_a_cure() -> None:
    assert len(MISTAKES) >= 30
    assert len({mistake.text for mistake in MISTAKES}) == len(MISTAKES)
    assert sum(not mistake.hint for mistake in MISTAKES) <= len(MISTAKES) // 6


#: Not of one file alone: a file that is not there, what a reload may not change, what two files have.  And a
#: warning.
ELSEWHERE = {"not-readable", "at-start-only", "key-twice", "exposed"}


def test_every_kind_is_provoked() -> None:
    assert {mistake.kind for mistake in MISTAKES} | ELSEWHERE == CONFIGURATION.keys()


def test_every_kind_in_the_source_is_explained() -> None:
    sources = [*(REPOSITORY / "vdp/config").glob("*.py"), REPOSITORY / "vdp/reload/plan.py"]
    texts = [path.read_text() for path in sources]
    used = {kind for text in texts for kind in re.findall(r'\bkind="([a-z-]+)"', text)}
    used |= {kind for text in texts for kind in re.findall(r'^    \("([a-z-]+)", [a-z_]+\),$', text, re.M)}
    assert used == CONFIGURATION.keys()


def test_a_file_that_can_not_be_read_has_a_kind(tmp_path: Path) -> None:
    (problem,) = reported(tmp_path / "absent.toml")
    assert problem.kind == "not-readable"
