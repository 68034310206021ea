from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import make_url

from muster.errors import UserError
from muster_worker.fleet.luggage import pack

URL = "mysql+pymysql://ann:s3cret@db.example.org:3307/muster?charset=utf8mb4"


def test_the_url_and_certificates_travel_in_files_that_the_worker_alone_reads(
    tmp_path: Path,
) -> None:
    (tmp_path / "ca.pem").write_bytes(b"certificate")
    luggage = pack(make_url(URL).update_query_dict({"ssl_ca": str(tmp_path / "ca.pem")}))
    assert luggage.environment == {"MUSTER_JOIN": "/run/muster/join"}
    assert "s3cret" not in repr(luggage)
    with tarfile.open(fileobj=io.BytesIO(luggage.packed())) as archive:
        found = {each.name: (each.mode, each.uid) for each in archive}
        join = archive.extractfile("run/muster/join")
        assert join is not None
        assert join.read() == f"{URL}&ssl_ca=%2Frun%2Fmuster%2Fssl_ca".encode()
    assert found == {
        "run/muster": (0o700, 10001),
        "run/muster/join": (0o400, 10001),
        "run/muster/ssl_ca": (0o400, 10001),
    }


def test_a_token_travels_as_it_is_and_brings_its_certificate_itself() -> None:
    url = make_url(URL).update_query_dict({"ssl_ca": "cache/of/this/machine.pem"})
    assert pack(url, token="muster1.4.abcd").files == {"join": b"muster1.4.abcd"}


def test_a_database_that_is_a_file_here_is_refused() -> None:
    with pytest.raises(UserError, match="needs a database server"):
        pack(make_url("sqlite:///muster.db"))


def test_a_certificate_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.pem: No such file.*ssl_ca"):
        pack(make_url(URL).update_query_dict({"ssl_ca": "nowhere.pem"}))
