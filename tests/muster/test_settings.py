from __future__ import annotations

from pathlib import Path

import pytest

from muster.errors import UserError
from muster.settings import load_settings, variables


def test_an_empty_environment_gives_the_embedded_default() -> None:
    assert load_settings({}).db_url == "sqlite:///muster.db"


def test_a_variable_sets_its_field() -> None:
    settings = load_settings({"MUSTER_LEASE_SECONDS": "17.5", "MUSTER_CACHE_DIR": "/somewhere"})
    assert (settings.lease_seconds, settings.cache_dir) == (17.5, Path("/somewhere"))


def test_slots_are_a_number_or_auto() -> None:
    assert load_settings({"MUSTER_SLOTS": "3"}).slots == 3
    assert load_settings({"MUSTER_SLOTS": "auto"}).slots == "auto"
    with pytest.raises(UserError, match="MUSTER_SLOTS"):
        load_settings({"MUSTER_SLOTS": "0"})


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings({"MUSTER_THREADS": ""}).threads is None


def test_every_bad_variable_is_named_at_once() -> None:
    with pytest.raises(UserError) as raised:
        load_settings(
            {"MUSTER_LEESE_SECONDS": "1", "MUSTER_THREADS": "many", "MUSTER_DB_PORT": "1"}
        )
    assert "MUSTER_LEESE_SECONDS" in str(raised.value)
    assert "MUSTER_THREADS" in str(raised.value)
    assert "MUSTER_DB_PORT" not in str(raised.value)


def test_a_heartbeat_that_could_cost_the_lease_is_refused_and_both_are_named() -> None:
    with pytest.raises(UserError) as raised:
        load_settings({"MUSTER_LEASE_SECONDS": "14"})
    assert "MUSTER_HEARTBEAT_SECONDS=5 " in str(raised.value)
    assert "MUSTER_LEASE_SECONDS=14," in str(raised.value)
    assert "Value error" not in str(raised.value)
    assert load_settings({"MUSTER_LEASE_SECONDS": "15"}).lease_seconds == 15


def test_every_variable_says_what_it_means() -> None:
    assert all(variables().values())
