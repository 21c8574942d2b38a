"""Examples of docs/api/hooks.md, beside the plugins of tests/api/hooks."""

import sys
import types

import pytest

from vdp.api import API_VERSION, hookimpl
from vdp.testing import Dataplane


# shows: API_VERSION
def test_a_plugin_for_another_version_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    future = types.ModuleType("vdp_future")
    vars(future)["vdp_api"] = API_VERSION + 1
    monkeypatch.setitem(sys.modules, "vdp_future", future)
    with pytest.raises(Exception, match="plugin future is made for API version 2; this vdp has 1"):
        Dataplane(plugins=["future=vdp_future"])


# shows: hookimpl
def test_a_hook_that_is_none_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    @hookimpl
    def vdp_regsiter(datapath: object) -> None: ...

    typo = types.ModuleType("vdp_typo")
    vars(typo).update(vdp_api=1, vdp_regsiter=vdp_regsiter)
    monkeypatch.setitem(sys.modules, "vdp_typo", typo)
    with pytest.raises(Exception, match=r"plugin typo failed: .*'vdp_regsiter': did you mean 'vdp_register'"):
        Dataplane(plugins=["typo=vdp_typo"])
