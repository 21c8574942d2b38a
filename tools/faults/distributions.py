"""Plugins for the faults, installed as a third party's would be."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path) -> Path:
    """The unruly plugin, and some that can not be loaded, as distributions in that folder."""
    folder.mkdir()
    sources = {
        "unruly": Path(__file__).with_name("unruly.py").read_text(),
        "tomorrow": "vdp_api = 2\n",
        "missing": "import a_library_that_is_not_there\nvdp_api = 1\n",
        "slow": "import time\ntime.sleep(3)\nvdp_api = 1\n",
        "greedy": (
            "from vdp.api import hookimpl\nvdp_api = 1\n@hookimpl\ndef vdp_register(datapath):\n"
            "    datapath.registry.list('gre_cisco').add(\n"
            "        lambda *_: None, priority=1, name='greedy_rcv', owner='greedy')\n"
        ),
    }
    for name, source in sources.items():
        (folder / f"vdp_{name}.py").write_text(source)
        information = folder / f"vdp_{name}-1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vdp-{name}\nVersion: 1\n")
        (information / "entry_points.txt").write_text(f"[vdp]\n{name} = vdp_{name}\n")
    return folder
