"""Bundles that somebody made to harm: each is one message, and nothing is written anywhere."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.errors import UserError
from muster.tensors import pack, unpack
from muster_ensemble.bundle import Bundle, Manifest, write_bundle
from muster_ensemble.predict import load, predict_file

DATA = Path(__file__).parents[1] / "data/bundles"
MOST_BYTES = 2**28
WEIGHTS = "members/4/fold0.safetensors"
Files = dict[str, bytes]


@pytest.fixture
def files(bundle: Bundle, tmp_path: Path) -> Files:
    write_bundle(tmp_path / "whole", bundle)
    return contents(tmp_path / "whole")


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Whatever takes much more memory than the bundle is large fails."""
    import resource  # noqa: PLC0415

    with open("/proc/self/statm", encoding="ascii") as stream:
        now = int(stream.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def contents(folder: Path) -> Files:
    found = sorted(place for place in folder.rglob("*") if place.is_file())
    return {place.relative_to(folder).as_posix(): place.read_bytes() for place in found}


def sealed(files: Files, /, **changes: Any) -> Files:
    """The files with a manifest that fits them, as somebody would write who knows how."""
    content = json.loads(files["manifest.json"]) | changes
    content["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in files.items()
        if name != "manifest.json"
    } | changes.get("files", {})
    manifest = Manifest.model_validate(content).sealed()
    return files | {"manifest.json": manifest.model_dump_json().encode()}


def zipped(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def refuse(path: Path, files: Files, message: str) -> None:
    """The bundle is refused as a .zip, and nothing is new beside it."""
    zipped(path / "evil.zip", files)
    before = sorted(path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        load(path / "evil.zip")
    assert "\n" not in str(caught.value).strip()
    assert sorted(path.rglob("*")) == before


def model_like(data: bytes, **changes: Any) -> bytes:
    tensors, content = unpack(data, what="the model")
    return pack(tensors, content | changes)


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "members/../../evil", "..\\evil", "C:evil", "notes.txt"]
)
def test_names_that_lead_elsewhere_are_refused(files: Files, tmp_path: Path, name: str) -> None:
    refuse(tmp_path, files | {name: b"evil"}, "not a file of this bundle")
    with pytest.raises(UserError, match="no file of a bundle"):
        zipped(tmp_path / "listed.zip", sealed(files | {name: b"evil"}))
        load(tmp_path / "listed.zip")


def test_links_in_an_archive_are_refused(files: Files, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        link = zipfile.ZipInfo("members/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        load(tmp_path / "evil.zip")


def test_a_file_twice_in_an_archive_is_refused(files: Files, tmp_path: Path) -> None:
    zipped(tmp_path / "evil.zip", files)
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "evil.zip", "a") as archive,
    ):
        archive.writestr(WEIGHTS, b"evil")
    with pytest.raises(UserError, match="twice"):
        load(tmp_path / "evil.zip")


def test_an_archive_that_swells_is_refused_before_it_does(files: Files, tmp_path: Path) -> None:
    bomb = bytes(2**24)
    refuse(tmp_path, sealed(files | {WEIGHTS: bomb}), "more than 20 times its own size")
    zipped(tmp_path / "lies.zip", sealed(files | {WEIGHTS: bomb}))
    data = (tmp_path / "lies.zip").read_bytes()
    small = struct.pack("<I", 1000)
    (tmp_path / "lies.zip").write_bytes(data.replace(struct.pack("<I", 2**24), small))
    with pytest.raises(UserError, match=r"lies\.zip"):
        load(tmp_path / "lies.zip")


def test_an_archive_packed_otherwise_is_refused(files: Files, tmp_path: Path) -> None:
    zipped(tmp_path / "evil.zip", files, zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match="packed in another way"):
        load(tmp_path / "evil.zip")


def test_a_manifest_that_names_other_hashes_is_refused(files: Files, tmp_path: Path) -> None:
    other = {"files": {WEIGHTS: {"sha256": "0" * 64, "size": len(files[WEIGHTS])}}}
    refuse(tmp_path, sealed(files, **other), "SHA-256 differs")
    huge = {"files": {WEIGHTS: {"sha256": "0" * 64, "size": 10**10}}}
    refuse(tmp_path, sealed(files, **huge), "bytes long instead of 10000000000")


def huge_file(files: Files) -> bytes:
    """A header that says it is 10 GB long."""
    return struct.pack("<Q", 10 * 2**30) + files[WEIGHTS][8:]


def huge_tensor(files: Files) -> bytes:
    """A header whose tensor is 10 GB long."""
    header = {"a": {"dtype": "F32", "shape": [2**30, 10], "data_offsets": [0, 10 * 2**32]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def nested(files: Files) -> bytes:
    """A header nested deeper than a parser may go."""
    text = b"[" * 100_000
    return struct.pack("<Q", len(text)) + text


def widened(files: Files, **options: Any) -> bytes:
    content = unpack(files[WEIGHTS], what="the model")[1]
    content["config"]["architecture"] = {"name": "gru", "options": options}
    return model_like(files[WEIGHTS], config=content["config"])


def channels(files: Files) -> bytes:
    shape = {"channels": 10**12, "static_features": 0, "classes": 3}
    return model_like(files[WEIGHTS], shape=shape)


def not_finite(files: Files) -> bytes:
    tensors, content = unpack(files[WEIGHTS], what="the model")
    next(iter(tensors.values())).fill_(float("nan"))
    return pack(tensors, content)


def unknown(files: Files) -> bytes:
    config = unpack(files[WEIGHTS], what="the model")[1]["config"]
    config["architecture"] = {"name": "oracle", "options": {}}
    return model_like(files[WEIGHTS], config=config)


MODELS: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "pickle": (lambda files: b"\x80\x04cos\nsystem\n(S'touch /tmp/evil'\ntR.", "damaged or no"),
    "npy": (lambda files: b"\x93NUMPY\x01\x00" + b"\x76\x00{'descr': '|O'", "damaged or no"),
    "huge header": (huge_file, "damaged or no"),
    "huge tensor": (huge_tensor, "damaged or no"),
    "nested": (nested, "damaged or no"),
    "wide": (lambda files: widened(files, hidden=10**9), "more than its"),
    "deep": (lambda files: widened(files, layers=10**9), "more than its"),
    "other": (lambda files: widened(files, hidden=63), "not those of its configuration"),
    "channels": (channels, "a model of"),
    "not finite": (not_finite, "no numbers"),
    "unknown": (unknown, "unknown architecture 'oracle'"),
    "newer": (lambda files: model_like(files[WEIGHTS], format=9), "format 9"),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_that_are_none_are_refused(files: Files, tmp_path: Path, name: str) -> None:
    make, message = MODELS[name]
    refuse(tmp_path, sealed(files | {WEIGHTS: make(files)}), rf"{WEIGHTS}: .*{message}")


@pytest.mark.parametrize("name", ["manifest.json", "schema.json", "members/4/config.json"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"1e999", b"{}", b"null"])
def test_json_that_is_none_is_refused(
    files: Files, tmp_path: Path, name: str, content: bytes
) -> None:
    changed = files | {name: content}
    refuse(tmp_path, changed if name == "manifest.json" else sealed(changed), name)


def test_a_contract_that_the_manifest_does_not_name_is_refused(
    files: Files, tmp_path: Path
) -> None:
    refuse(tmp_path, sealed(files | {"contract.json": b"{}"}), "not the contract")


def test_a_pipe_in_the_folder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    import os  # noqa: PLC0415

    write_bundle(tmp_path / "bundle", bundle)
    os.mkfifo(tmp_path / "bundle/members/pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        load(tmp_path / "bundle")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored bundle of format 2 as a .zip, and what it predicts."""
    folder = tmp_path_factory.mktemp("small")
    zipped(folder / "small.zip", contents(DATA / "format2"), zipfile.ZIP_STORED)
    return folder


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3
    )
)
def test_flipped_bytes_never_change_a_prediction(
    small: Path, flips: list[tuple[float, int]]
) -> None:
    data = bytearray((small / "small.zip").read_bytes())
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    (small / "flipped.zip").write_bytes(data)
    try:
        predict_file(small / "flipped.zip", DATA / "input.csv", small / "out.csv", proba=True)
    except UserError as fault:
        assert str(fault).startswith(str(small))
        return
    assert (small / "out.csv").read_text() == (DATA / "expected2.csv").read_text()
