from __future__ import annotations

from muster_db.grants import ROLES, WORKER
from muster_db.schema import OPTUNA_VERSION_TABLE, VERSION_TABLE
from muster_db.tables import OPTUNA, metadata


def test_every_table_has_a_decision_what_members_may_do_with_it() -> None:
    tables = {*OPTUNA.tables, *metadata.tables, OPTUNA_VERSION_TABLE, VERSION_TABLE}
    assert set(WORKER) == tables


def test_no_role_may_change_tables_or_see_the_members() -> None:
    rights = {role: make() for role, make in ROLES.items()}
    granted = {
        each for role in rights.values() for words in role.values() for each in words.split(", ")
    }
    assert granted == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert not any("muster_members" in role for role in rights.values())
    assert set(rights["viewer"].values()) == {"SELECT"}
