from __future__ import annotations

import pytest
from sqlalchemy import make_url

from muster.errors import UserError
from muster_db.engine import connect
from muster_db.urls import parse, show


@pytest.mark.parametrize(
    "rest",
    [
        "tuna@gill@host:3306/muster",
        "tuna@gil/l@host/muster",
        "tuna@gill?x@host/muster",
        "tuna@gil:l@host/muster",
    ],
)
def test_a_password_with_a_plain_at_sign_is_refused_and_not_shown(rest: str) -> None:
    for read in (parse, connect):
        with pytest.raises(UserError, match=r"more than one @.*%40") as raised:
            read(f"mysql+pymysql://muster:{rest}")
        assert not any(part in str(raised.value) for part in ("tuna", "gil", "muster:"))


def test_an_escaped_password_and_an_at_sign_in_a_file_name_are_read() -> None:
    assert parse("mysql+pymysql://muster:p%40ss@host/muster").password == "p@ss"
    assert parse("sqlite:///a@b@c.db").database == "a@b@c.db"


@pytest.mark.parametrize("name", ["password", "passwd", "ssl_key_password", "PASSWORD"])
def test_a_password_in_the_query_is_hidden(name: str) -> None:
    url = make_url(f"mysql+pymysql://muster:secret@host/muster?{name}=swordfish")
    assert show(url) == f"mysql+pymysql://muster:***@host/muster?{name}=***"
    with pytest.raises(UserError, match="muster knows") as raised:
        connect(f"postgresql://host/muster?{name}=swordfish")
    assert "swordfish" not in str(raised.value)


def test_where_the_ca_lies_is_no_part_of_a_message() -> None:
    query = "ssl_ca=/a/b.pem&ssl_check_hostname=false&charset=utf8mb4"
    url = make_url(f"mysql+pymysql://muster@host/muster?{query}")
    assert show(url) == "mysql+pymysql://muster@host/muster?charset=utf8mb4"
