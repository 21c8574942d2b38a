"""The test kit: what plugin authors, and vdp itself, test protocols with.  docs/testing-plugins.md.

    from vdp.testing import Dataplane, assert_trace, check_soundness
    from vdp.testing.builders import ipv4, udp

What is public is listed here, once; a name is imported when it is first asked for, so that
a plugin of pytest costs nothing where it is not used.  `vdp.testing.strategies` needs
hypothesis, `vdp.testing.golden` dpkt: the extra `vdp[test]` has both.  Nothing in the
product imports from here but `vdp plugin test` and `vdp trace`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vdp.engine.native import NativeEngine as NativeEngine
    from vdp.testing import builders as builders
    from vdp.testing import strategies as strategies
    from vdp.testing.books import check_books as check_books
    from vdp.testing.books import check_faults as check_faults
    from vdp.testing.conformance import Conformance as Conformance
    from vdp.testing.conformance import Result as Result
    from vdp.testing.dataplane import Dataplane as Dataplane
    from vdp.testing.fuzz import Fuzzer as Fuzzer
    from vdp.testing.golden import check_golden as check_golden
    from vdp.testing.golden import read_pcap as read_pcap
    from vdp.testing.golden import replay as replay
    from vdp.testing.golden import write_pcap as write_pcap
    from vdp.testing.groups import StaticGroups as StaticGroups
    from vdp.testing.paths import StaticPaths as StaticPaths
    from vdp.testing.reference import ReferenceEngine as ReferenceEngine
    from vdp.testing.soundness import Sample as Sample
    from vdp.testing.soundness import check_soundness as check_soundness
    from vdp.testing.soundness import sample_of as sample_of
    from vdp.testing.traced import Traced as Traced
    from vdp.testing.traced import assert_trace as assert_trace
    from vdp.testing.traced import explain as explain

#: Every public name, and the module that it is in; of a module, itself.
PUBLIC = {
    "Conformance": "vdp.testing.conformance",
    "Dataplane": "vdp.testing.dataplane",
    "Fuzzer": "vdp.testing.fuzz",
    "NativeEngine": "vdp.engine.native",
    "ReferenceEngine": "vdp.testing.reference",
    "Result": "vdp.testing.conformance",
    "Sample": "vdp.testing.soundness",
    "StaticGroups": "vdp.testing.groups",
    "StaticPaths": "vdp.testing.paths",
    "Traced": "vdp.testing.traced",
    "assert_trace": "vdp.testing.traced",
    "builders": "vdp.testing.builders",
    "check_books": "vdp.testing.books",
    "check_faults": "vdp.testing.books",
    "check_golden": "vdp.testing.golden",
    "check_soundness": "vdp.testing.soundness",
    "explain": "vdp.testing.traced",
    "read_pcap": "vdp.testing.golden",
    "replay": "vdp.testing.golden",
    "sample_of": "vdp.testing.soundness",
    "strategies": "vdp.testing.strategies",
    "write_pcap": "vdp.testing.golden",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(PUBLIC[name])
    return module if PUBLIC[name] == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
