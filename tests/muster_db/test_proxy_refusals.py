"""Whoever has no business at a proxy is refused, and errors cross in their own words."""

from __future__ import annotations

import datetime
import ipaddress
import json
import warnings
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path

import optuna
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from optuna.storages import GrpcStorageProxy
from sqlalchemy import Engine, text

from muster.errors import DiskFull, LeaseLost, MusterError, Unavailable, UserError
from muster_db import blobs, trials
from muster_db.engine import connect
from muster_db.proxy.client import ANSWER_BYTES, SERVICE, Remote
from muster_db.proxy.messages import LENGTH, codec_of, write_error
from muster_db.proxy.server import CALL_BYTES, Door, serving
from muster_db.study import list_studies
from proxies import HERE, LOOPBACK, proxied, url_of
from samples import make_study

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Remote]]:
    """A database with its own engine, and a proxy beside it."""
    with proxied(tmp_path_factory.mktemp("proxy")) as found:
        yield found


@pytest.fixture
def engine(served: tuple[Engine, Remote]) -> Engine:
    return served[0]


@pytest.fixture
def remote(served: tuple[Engine, Remote]) -> Remote:
    return served[1]


def framed(text: bytes, tail: bytes = b"") -> bytes:
    return LENGTH.pack(len(text)) + text + tail


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("trials.blob_names", b"", "cut off"),
    "cut off": ("trials.blob_names", framed(b'{"trial_id": 1}')[:-1], "cut off"),
    "no JSON": ("trials.blob_names", framed(b"\x80\x04pickle"), "Invalid JSON"),
    "deep JSON": ("trials.blob_names", framed(b"[" * 100_000), "recursion limit"),
    "missing field": ("trials.blob_names", framed(b"{}"), "trial_id: Field required"),
    "unknown field": (
        "trials.blob_names",
        framed(b'{"trial_id": 1, "engine": 2}'),
        "engine: Extra inputs",
    ),
    "wrong type": ("trials.blob_names", framed(b'{"trial_id": "1 OR 1=1"}'), "valid integer"),
    "bytes to spare": ("trials.blob_names", framed(b'{"trial_id": 1}', b"x"), "more bytes"),
    "no distribution": (
        "claims.take_new",
        framed(json.dumps({"proposal": {"params": {}, "distributions": {"a": "{}"}}}).encode()),
        "is no distribution",
    ),
}


@pytest.mark.parametrize("case", list(HOSTILE))
def test_hostile_message_is_refused_in_one_line(remote: Remote, case: str) -> None:
    method, message, problem = HOSTILE[case]
    answer = remote._channel.unary_unary(f"/{SERVICE}/{method}")(message)
    with pytest.raises(UserError, match=problem) as refused:
        codec_of(unwrap(trials.blob_names)).read_answer(answer)
    assert "\n" not in str(refused.value)
    assert trials.blob_names(remote, 10**6) == {}


def test_unknown_verb_and_a_message_that_is_too_large_are_refused(remote: Remote) -> None:
    def drop_tables(engine: Engine, name: str) -> None: ...

    with pytest.raises(UserError, match="no muster proxy, or one of another version"):
        remote.call(drop_tables, "muster_trials")
    with pytest.raises(UserError, match="larger than the proxy takes"):
        blobs.write_chunk(remote, "0" * 64, 0, bytes(CALL_BYTES))
    assert CALL_BYTES > 4 * blobs.CHUNK_BYTES
    assert ANSWER_BYTES > CALL_BYTES


@pytest.mark.parametrize("kind", [MusterError, UserError, Unavailable, DiskFull, LeaseLost])
def test_error_crosses_with_its_kind_and_its_words(kind: type[MusterError]) -> None:
    with pytest.raises(kind, match="wörds") as raised:
        codec_of(unwrap(trials.extend)).read_answer(write_error(kind("wörds")))
    assert type(raised.value) is kind


def test_error_that_has_no_counterpart_crosses_as_the_nearest() -> None:
    with pytest.raises(UserError):
        codec_of(unwrap(trials.extend)).read_answer(write_error(blobs.DamagedBlob("damaged")))


def test_database_that_lost_its_tables_is_said_in_the_proxys_words(tmp_path: Path) -> None:
    with proxied(tmp_path) as (engine, remote):
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE muster_studies RENAME TO gone"))
        with pytest.raises(UserError, match="muster's tables are missing"):
            list_studies(remote)


def test_proxy_beside_no_database_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "muster.db").touch()
    with (
        pytest.raises(UserError, match="run `muster db init`"),
        serving(f"sqlite:///{tmp_path / 'muster.db'}", HERE, connections=1),
    ):
        pass


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A certificate for this machine that signed itself: its file, itself and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    path = tmp_path_factory.mktemp("identity") / "certificate.pem"
    path.write_bytes(certificate)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return path, certificate, secret


def test_token_and_certificate_let_in_who_has_them(
    engine: Engine, identity: tuple[Path, bytes, bytes]
) -> None:
    path, certificate, key = identity
    study = make_study(engine, name="secret")
    door = Door(LOOPBACK, 0, token=TOKEN, certificate=certificate, key=key)
    with serving(url_of(engine), door, connections=1) as port:
        place = f"{LOOPBACK}:{port}"

        def look(url: str) -> list[str]:
            remote = Remote(url, patience_seconds=0.0)
            try:
                return [each.name for each in list_studies(remote)]
            finally:
                remote.dispose()

        assert study.name in look(f"grpcs://:{TOKEN}@{place}?ca={path}")
        with pytest.raises(UserError, match="another token") as refused:
            look(f"grpcs://:{TOKEN[::-1]}@{place}?ca={path}")
        assert TOKEN[::-1] not in str(refused.value)
        with pytest.raises(UserError, match="another token"):
            look(f"grpcs://{place}?ca={path}")
        with pytest.raises(UserError, match="its certificate is not trusted here"):
            look(f"grpcs://:{TOKEN}@{place}")
        with pytest.raises(Unavailable, match="does not answer"):
            look(f"grpc://{place}")


def test_optunas_client_which_has_no_token_stays_outside(engine: Engine) -> None:
    with serving(url_of(engine), Door(LOOPBACK, 0, token=TOKEN), connections=1) as port:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = GrpcStorageProxy(host=LOOPBACK, port=port)
        with pytest.raises(Exception, match="the token is missing"):
            storage.get_all_studies()
        storage.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db.example.org"])
def test_proxy_beyond_this_machine_needs_token_and_certificate(host: str) -> None:
    with pytest.raises(UserError, match="other machines"):
        Door(host, 13_000)
    with pytest.raises(UserError, match="other machines"):
        Door(host, 13_000, token=TOKEN)
    with pytest.raises(UserError, match="other machines"):
        Door(host, 13_000, certificate=b"", key=b"")
    assert Door(host, 13_000, token=TOKEN, certificate=b"", key=b"").scheme == "grpcs"


@pytest.mark.parametrize("host", [LOOPBACK, "127.0.0.2", "::1", "localhost"])
def test_proxy_for_this_machine_alone_needs_neither(host: str) -> None:
    assert Door(host, 13_000).scheme == "grpc"


def test_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(UserError, match="name both"):
        Door(LOOPBACK, 13_000, certificate=b"")


URLS = {
    "grpc://db.example.org": "write grpcs://",
    "grpc://": "is written like",
    "grpc://localhost/muster": "is written like",
    "grpcs://localhost?cert=x": "cert means nothing here",
    "grpc://localhost?ca=x": "ca means nothing here",
    "grpcs://localhost?ca=/no/such/file": "No such file",
    "grpcs://:short@localhost": "16 characters or more",
    "grpcs://:0123456789abcdef%20@localhost": "printable ASCII",
}


@pytest.mark.parametrize("url", list(URLS))
def test_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=URLS[url]) as refused:
        Remote(url)
    assert "short" not in str(refused.value)


def test_engine_for_a_proxys_url_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match="serves `muster worker` alone"):
        connect("grpc://localhost:13000")
