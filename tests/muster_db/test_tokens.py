from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import Authority
from muster.errors import UserError
from muster_db import tokens
from muster_db.tokens import Token

SECRET = "swordfish-7"
TOKEN = Token(
    host="db.example.org", port=3306, database="muster", user="alice_1", password=SECRET,
    ca=Authority().pem, is_host_checked=False, member="alice", role="worker", study="mine",
    expires_at=datetime(2030, 1, 2),
)  # fmt: skip
TEXT = tokens.write(TOKEN)
BODY = TEXT.index(".", len("muster1.")) + 1


def test_a_token_comes_back_as_it_was_written() -> None:
    assert tokens.read(TEXT) == TOKEN
    assert tokens.read(f" {TEXT[:100]}\n{TEXT[100:]}\r\n") == TOKEN
    assert len(TEXT) < 1500


@given(st.integers(0, len(TEXT) - BODY - 1), st.integers(1, 63))
def test_one_other_character_anywhere_is_told(position: int, shift: int) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = BODY + position
    other = letters[(letters.index(TEXT[at]) + shift) % len(letters)]
    # The last character's lowest bits stand for nothing.
    if at < len(TEXT) - 1:
        with pytest.raises(UserError, match="altered"):
            tokens.read(TEXT[:at] + other + TEXT[at + 1 :])


@given(st.integers(0, len(TEXT) - 1))
def test_a_cut_off_token_is_told(kept: int) -> None:
    with pytest.raises(UserError, match=r"cut off|no join token"):
        tokens.read(TEXT[:kept])


@given(st.binary(max_size=200))
def test_nothing_but_one_message_comes_of_any_bytes(noise: bytes) -> None:
    for text in (noise.decode("latin-1"), f"muster1.{len(noise)}.{noise.hex()}"):
        with pytest.raises(UserError):
            tokens.read(text)


def test_a_newer_token_asks_for_a_newer_muster() -> None:
    with pytest.raises(UserError, match="install the newest muster"):
        tokens.read(TEXT.replace("muster1.", "muster2."))


def test_a_token_is_shown_nowhere() -> None:
    assert SECRET not in repr(TOKEN)
    assert (
        tokens.hide(f"muster worker --join {TEXT} --slots 2")
        == "muster worker --join *** --slots 2"
    )
    with pytest.raises(UserError) as refused:
        tokens.read(f"{TEXT}x")
    assert TEXT[BODY : BODY + 20] not in str(refused.value)


def test_the_url_pins_the_certificate(tmp_path: Path) -> None:
    for _ in range(2):
        url = tokens.url_of(TOKEN, folder=tmp_path)
    assert (url.username, url.password, url.port) == ("alice_1", SECRET, 3306)
    assert url.query["ssl_check_hostname"] == "false"
    assert Path(str(url.query["ssl_ca"])).read_text() == TOKEN.ca
    assert len(list((tmp_path / "authorities").iterdir())) == 1


def test_a_token_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CA certificate cannot be read"):
        tokens.url_of(TOKEN.model_copy(update={"ca": "none"}), folder=tmp_path)
