"""`include`: several files are one configuration, and each mistake is said with its own file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.conftest import kinds, settings
from vdp.config import Config, ConfigError, Problem, load

MAIN = 'include = ["conf.d/*.toml"]\n[plugins]\nload = ["gre"]\n'
PORT = '[[port]]\nname = "{}"\ntype = "tap"\n'
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a main file, and others in conf.d by name; the main one's path."""

    def write(main: str, **others: str) -> Path:
        (tmp_path / "conf.d").mkdir()
        for name, text in others.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(text)
        path = tmp_path / "vdp.toml"
        path.write_text(main)
        return path

    return write


def read(path: Path) -> Config:
    return load(path, kinds, settings)


def problems(path: Path) -> list[tuple[str, int, str, Problem]]:
    """File, line and key of each, and the problem."""
    with pytest.raises(ConfigError) as refused:
        read(path)
    return [(Path(each.file).name, each.line, each.key, each) for each in refused.value.problems]


def test_tables_follow_one_another_by_the_names_of_the_files(write: Write) -> None:
    main = MAIN.replace("[plugins]", PORT.format("m0") + "[plugins]")
    path = write(main, b=PORT.format("b0"), a=PORT.format("a0"))
    config = read(path)
    assert [port.name for port in config.ports] == ["m0", "a0", "b0"]
    assert config.where("port", 1, "name") == f"{path.parent}/conf.d/a.toml:2"
    assert config.where("port", 0, "name") == f"{path}:3"


def test_what_is_hidden_is_left_out_as_a_shell_does(write: Write) -> None:
    hidden = {".#a": "what an editor keeps", "a": PORT.format("a0")}
    assert [port.name for port in read(write(MAIN, **hidden)).ports] == ["a0"]


def test_a_link_to_itself_is_said_as_any_file_that_can_not_be_read(write: Write) -> None:
    path = write(MAIN)
    (path.parent / "conf.d" / "loop.toml").symlink_to("loop.toml")
    ((name, _, _, problem),) = problems(path)
    assert (name, problem.message) == ("loop.toml", "can not be read: Too many levels of symbolic links")


def test_lists_are_joined_and_tables_continued(write: Write) -> None:
    config = read(
        write(MAIN + "[log]\nlevel = 'info'\n", a='[plugins]\nload = ["gretap"]\n[log]\nformat = "json"\n')
    )
    assert config.plugins.load == ("gre", "gretap")
    assert (config.log.level, config.log.format) == ("info", "json")


def test_a_plugins_table_may_be_in_a_file_of_its_own(write: Write) -> None:
    path = write(MAIN.replace('"gre"', '"wccp"'), a="[plugin.wccp.peer.one]\nweight = 4\n")
    assert read(path).plugin["wccp"].peer["one"].weight == 4  # type: ignore[attr-defined]
    (path.parent / "conf.d" / "b.toml").write_text("[plugin.wccp.peer.two]\nwieght = 4\n")
    ((file, line, key, _),) = problems(path)
    assert (file, line, key) == ("b.toml", 2, "plugin.wccp.peer.two.wieght")


def test_each_mistake_is_said_with_its_own_file_and_line(write: Write) -> None:
    path = write(
        MAIN + "[log]\nlevel = 'loud'\n",
        a=PORT.format("tap0") + "mtu = 70000\n",
        b="# second\n" + PORT.format("tap0") + '[[bridge]]\nname = "br0"\nmembers = ["tap0", "tpa0"]\n',
        c="[log\n",
        d="[port]\nname = 'x'\n",
        e="colour = 1\n",
    )
    found = problems(path)
    assert [(file, line, key) for file, line, key, _ in found] == [
        ("vdp.toml", 5, "log.level"),
        ("a.toml", 4, "port[0].mtu"),
        ("b.toml", 3, "port[1].name"),
        ("b.toml", 7, "bridge[0].members[1]"),
        ("c.toml", 1, ""),
        ("d.toml", 1, "port"),
        ("e.toml", 1, "colour"),
    ]
    assert "conf.d/a.toml:2 has it" in found[2][3].hint
    assert found[3][3].source == 'members = ["tap0", "tpa0"]'
    assert found[3][3].column == 20


def test_a_key_stands_in_one_file(write: Write) -> None:
    path = write(MAIN + "[log]\nlevel = 'info'\n", a="[log]\nlevel = 'debug'\n")
    ((file, line, key, problem),) = problems(path)
    assert (file, line, key, problem.kind) == ("a.toml", 2, "log.level", "key-twice")
    assert problem.hint == f"{path}:5 has it"


def test_a_file_named_in_full_must_be_there_and_once(write: Write) -> None:
    path = write('include = ["conf.d/a.toml", "conf.d/*.toml", "gone.toml", "no*.toml", 4]\n', a="[log]\n")
    found = problems(path)
    assert [(line, key, each.kind) for _, line, key, each in found] == [
        (1, "include[1]", "listed-twice"),
        (1, "include[2]", "not-readable"),
        (1, "include[4]", "wrong-type"),
    ]
    path.write_text('include = ["conf.d/**.toml"]\n')
    assert problems(path)[0][3].kind == "wrong-value"
    path.write_text(f'include = ["{path.parent}/conf.[d]/*"]\n')
    assert read(path).log.level == "info"
    path.write_text('include = "conf.d/*.toml"\n')
    assert problems(path)[0][3].hint == 'write ["conf.d/*.toml"]'


def test_included_files_include_no_others(write: Write) -> None:
    path = write(MAIN, a='include = ["b.toml"]\n')
    ((file, line, key, problem),) = problems(path)
    assert (file, line, key) == ("a.toml", 1, "include")
    assert str(path) in problem.hint
