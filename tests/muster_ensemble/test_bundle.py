from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muster.errors import UserError
from muster_ensemble.bundle import Bundle, Manifest, read_bundle, write_bundle


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", bundle)
    return tmp_path / "bundle"


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as somebody would who knows how its digest is made."""
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    sealed = Manifest.model_validate(content).sealed()
    (folder / "manifest.json").write_text(sealed.model_dump_json())


def test_what_was_written_is_read_again(bundle: Bundle, folder: Path) -> None:
    assert read_bundle(folder) == bundle
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["members"] == [4, 2, 7]
    assert manifest["contract_hash"] == "c" * 64
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def test_a_newer_bundle_takes_the_place_of_the_older(bundle: Bundle, folder: Path) -> None:
    smaller = replace(bundle, members=bundle.members[:1], rule="soft")
    write_bundle(folder, smaller)
    assert read_bundle(folder) == smaller
    assert not (folder / "members/2").exists()


def test_only_a_bundle_or_an_empty_folder_is_replaced(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", bundle)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("1")
    with pytest.raises(UserError, match=r"thesis: a folder that holds no bundle; name an empty"):
        write_bundle(tmp_path / "thesis", bundle)
    (tmp_path / "file").write_text("1")
    with pytest.raises(UserError, match="something else than a folder"):
        write_bundle(tmp_path / "file", bundle)
    assert (tmp_path / "thesis/chapter.tex").read_text() == "1"


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "schema.json", "members/2/config.json", "members/7/fold1.safetensors"],
)
def test_one_changed_byte_is_noticed_wherever_it_is(folder: Path, name: str) -> None:
    place = folder / name
    data = bytearray(place.read_bytes())
    middle = len(data) // 2
    data[middle] = ord("7") if data[middle] != ord("7") else ord("8")
    place.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name}.*copy the bundle again"):
        read_bundle(folder)


def test_a_changed_figure_in_the_manifest_is_noticed(folder: Path) -> None:
    place = folder / "manifest.json"
    place.write_text(place.read_text().replace("macro_f1", "micro_f1"))
    with pytest.raises(UserError, match=r"manifest\.json: its content was changed"):
        read_bundle(folder)


def test_a_cut_file_a_missing_file_and_a_missing_manifest_are_named(folder: Path) -> None:
    weights = folder / "members/4/fold0.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"members/4/fold0\.safetensors: \d+ bytes long instead"):
        read_bundle(folder)
    weights.unlink()
    with pytest.raises(UserError, match=r"members/4/fold0\.safetensors: missing; copy"):
        read_bundle(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"bundle: no bundle, manifest\.json is not there"):
        read_bundle(folder)
    with pytest.raises(UserError, match="no bundle"):
        read_bundle(folder / "nowhere")


@pytest.mark.parametrize("name", ["notes.txt", "members/4/run.py", "members/9/config.json"])
def test_unknown_files_are_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    with pytest.raises(UserError, match="not a file of this bundle; move it elsewhere"):
        read_bundle(folder)


def test_links_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "schema.json").rename(tmp_path / "schema.json")
    (folder / "schema.json").symlink_to(tmp_path / "schema.json")
    with pytest.raises(UserError, match=r"schema\.json: a link"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "members/../../secret", "members/4/fold0.pickle"]
)
def test_names_that_are_none_of_a_bundle_are_refused(folder: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "size": 1}
    reseal(folder, lambda content: content["files"].update({name: entry}))
    with pytest.raises(UserError, match="which is no file of a bundle"):
        read_bundle(folder)


def test_a_newer_format_an_unknown_rule_and_lost_members_say_what_to_do(folder: Path) -> None:
    reseal(folder, lambda content: content.update(rule="loudest"))
    with pytest.raises(UserError, match="unknown voting rule 'loudest'; upgrade muster"):
        read_bundle(folder)
    reseal(folder, lambda content: content.update(rule="soft", members=[4, 5]))
    with pytest.raises(UserError, match=r"members/5/config\.json: missing"):
        read_bundle(folder)
    reseal(folder, lambda content: content.update(format=4))
    with pytest.raises(UserError, match="bundle format 4, this muster reads up to 3; upgrade"):
        read_bundle(folder)


def test_how_the_members_vote_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    voting = replace(
        bundle,
        rule="greedy",
        weights=(0.5, 0.25, 0.25),
        temperatures=(1.5, 1.0, 0.7),
        factors=(1.0, 2.0, 0.5),
    )
    write_bundle(tmp_path / "bundle", voting)
    assert read_bundle(tmp_path / "bundle") == voting


@pytest.mark.parametrize("name", ["folder", "bundle.zip"])
def test_folder_and_zip_hold_the_same(bundle: Bundle, tmp_path: Path, name: str) -> None:
    contract = '{"folds":[0,1]}'
    whole = replace(
        bundle,
        contract=contract,
        contract_hash=hashlib.sha256(contract.encode()).hexdigest(),
        figure=0.875,
        versions={"torch": "2.13.0"},
    )
    write_bundle(tmp_path / name, whole)
    assert read_bundle(tmp_path / name) == whole
    first = (tmp_path / name).read_bytes() if name.endswith(".zip") else b""
    write_bundle(tmp_path / name, whole)
    assert not first or (tmp_path / name).read_bytes() == first


def test_a_zip_takes_the_place_of_nothing_but_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.zip").write_text("chapters")
    with pytest.raises(UserError, match=r"thesis\.zip: there is something else than a bundle"):
        write_bundle(tmp_path / "thesis.zip", bundle)
    assert (tmp_path / "thesis.zip").read_text() == "chapters"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.0]}, "its weights are not one a member"),
        ({"weights": [0.0, 0.0, 0.0]}, "its weights sum to 0"),
        ({"temperatures": [1.0, 2.0]}, "its temperatures are not one a member"),
        ({"factors": [1.0]}, "its factors are not one a class"),
    ],
    ids=["weights", "nobody", "temperatures", "factors"],
)
def test_a_vote_that_does_not_fit_the_members_is_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    reseal(folder, lambda content: content.update(change))
    with pytest.raises(UserError, match=message):
        read_bundle(folder)


def test_numbers_of_a_vote_that_are_none_are_refused(folder: Path) -> None:
    place = folder / "manifest.json"
    content = json.loads(place.read_text())
    for wrong in (float("nan"), float("inf"), -1.0):
        place.write_text(json.dumps(content | {"weights": [wrong, 1.0, 1.0]}))
        with pytest.raises(UserError, match=r"manifest\.json: weights\.0: .*copy the bundle"):
            read_bundle(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 1}', "\x00"])
def test_a_manifest_that_is_none_is_one_clear_message(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: .*copy the bundle again"):
        read_bundle(folder)
