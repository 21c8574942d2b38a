"""Errors of pydantic models, put as faults of a file."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from pydantic import BaseModel, ValidationError

from vdp.api import Address, Mac
from vdp.config.faults import Fault, faults_of


class Stations(BaseModel):
    fdb: dict[Mac, Address]


def faults(table: object) -> list[Fault]:
    with pytest.raises(ValidationError) as refused:
        Stations.model_validate({"fdb": table})
    return list(faults_of(refused.value, Stations, ("link", 0), {"fdb": table}))


def test_a_wrong_key_is_said_to_be_what_is_wrong() -> None:
    (fault,) = faults({"02:00:00:00:00:0g": "192.0.2.1"})
    assert fault.path == ("link", 0, "fdb", "02:00:00:00:00:0g")
    assert fault.text() == 'found "02:00:00:00:00:0g", expected a MAC address, such as "02:00:00:00:00:01"'
    assert fault.at_key


def test_a_wrong_value_is_said_to_be_the_value() -> None:
    (fault,) = faults({"02:00:00:00:00:01": "192.0.2.300"})
    assert fault.text() == 'found "192.0.2.300", expected an IPv4 address, such as "192.0.2.1", or "any"'
    assert not fault.at_key


def test_addresses_are_taken_as_a_file_has_them() -> None:
    stations = Stations.model_validate({"fdb": {"02:00:00:00:00:01": "192.0.2.1"}})
    assert stations.fdb == {"02:00:00:00:00:01": IPv4Address("192.0.2.1")}
