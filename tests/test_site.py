"""The site and the man pages are built from docs/ without a warning, and know every command and key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import REPOSITORY
from vdp.cli.commands import COMMANDS, OWN
from vdp.config.model import ARRAY_SECTIONS, TABLE_SECTIONS

DOCS = REPOSITORY / "docs"
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}", "NO_COLOR": "1"}

pytestmark = pytest.mark.timeout(300)


def build(out: Path, *docs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.site", str(out), *map(str, docs)],
        cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(out)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return out


def man(site: Path, name: str) -> str:
    """A man page's text, without what is for the typesetter."""
    text = (site / "man" / name).read_text()
    plain = re.sub(r"\\f[BIPR]|\\&|^\.B ", "", text, flags=re.MULTILINE)
    return plain.replace("\\-", "-").replace("\\(aq", "'")


def test_every_page_is_on_the_site(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        html = (site / "html" / page.relative_to(DOCS).with_suffix(".html")).read_text()
        if page.name != "index.md":
            # Among the pages at the side, too: the index names it under a heading.
            assert 'class="current' in html, f"{page} is in no list of the index"


def test_the_man_page_of_vdp_has_every_command_and_option(site: Path) -> None:
    text = man(site, "vdp.8")
    for command in (*COMMANDS, *OWN):
        assert f".SS vdp {command.noun} {command.verb}".strip() in text
    for option in ("--log-level debug|info", "--socket PATH", "-c FILE, --config FILE", "--packets N"):
        assert re.search(rf"^{re.escape(option)}", text, re.MULTILINE), option
    assert ".SH EXIT CODES" in text


def test_the_man_page_of_the_configuration_has_every_table_and_key(site: Path) -> None:
    text = man(site, "vdp.toml.5")
    for section, model in (ARRAY_SECTIONS | TABLE_SECTIONS).items():
        assert re.search(rf"^\.SH \[+{section.upper()}", text, re.MULTILINE), section
        for name, field in model.model_fields.items():
            assert re.search(rf"^{field.alias or name}$", text, re.MULTILINE), f"{section}.{name}"


@pytest.mark.parametrize("name", ["vdp.8", "vdp.toml.5", "vdp-protocols.7", "vdp-plugin.7"])
def test_a_man_page_begins_and_ends_as_man_pages_do(site: Path, name: str) -> None:
    headings = re.findall(r"^\.SH (.*)$", man(site, name), re.MULTILINE)
    assert [heading.strip('"').upper() for heading in headings[:3]] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert headings[-1].strip('"') == "SEE ALSO"
    assert ".TS" not in man(site, name), "tables are lists"


@pytest.mark.parametrize("link", ["[gone](nowhere.md)", "[gone](other.md#nowhere)"])
def test_a_link_to_nothing_fails_the_build(tmp_path: Path, link: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Here\n\n## Pages\n\n- [other](other.md)\n")
    (docs / "other.md").write_text(f"# Other\n\n{link}\n")
    done = build(tmp_path / "out", docs)
    assert done.returncode != 0
    assert "other.md:3" in done.stderr
