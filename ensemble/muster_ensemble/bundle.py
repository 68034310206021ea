"""An exported ensemble: one folder of safetensors and JSON, each file with its SHA-256.

Reading it needs neither Optuna nor a database, and unpickles nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muster.config import TrialConfig
from muster.data.schema import Schema
from muster.errors import UserError
from muster.voting import RULES
from muster_ensemble.files import write_folder

# Format 2 has the vote's weights, temperatures and factors.
FORMAT = 2
VOTE = {"weights", "temperatures", "factors"}
MANIFEST = "manifest.json"
SCHEMA = "schema.json"
NAME = re.compile(r"schema\.json|members/\d{1,9}/(?:config\.json|fold\d{1,3}\.safetensors)")
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
M = TypeVar("M", bound=BaseModel)
MEND = "copy the bundle again, or export it again with `muster ensemble`"


@dataclass(frozen=True)
class Member:
    """One trial of the ensemble. folds: the bytes of each fold's model, safetensors."""

    number: int
    config: TrialConfig
    folds: tuple[bytes, ...]


@dataclass(frozen=True)
class Bundle:
    """What predicts on its own. rule: a name of muster.voting.RULES. metric: the study's.

    weights, temperatures, factors: as muster.voting.vote takes them.
    """

    schema: Schema
    members: tuple[Member, ...]
    rule: str
    metric: str
    contract_hash: str
    muster_version: str
    weights: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()


class FileEntry(BaseModel):
    """What the manifest promises of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """manifest.json. members: trial numbers, best first. digest: SHA-256 of all the rest of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    muster_version: str
    contract_hash: str
    rule: str
    metric: str
    members: Annotated[tuple[int, ...], Field(min_length=1)]
    weights: tuple[Share, ...] = ()
    temperatures: tuple[Factor, ...] = ()
    factors: tuple[Factor, ...] = ()
    files: dict[str, FileEntry]
    digest: str = ""

    def sealed(self) -> Manifest:
        """The same manifest with the digest that belongs to it."""
        left_out = {"digest"} | (VOTE if self.format == 1 else set())
        plain = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)
        return self.model_copy(update={"digest": _sha256(plain.encode())})


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write the folder whole, in place of an older bundle or an empty folder at most.

    Raises UserError when something else is there, or when it cannot be written.
    """
    _refuse_to_replace_anything_else(path)
    files = {SCHEMA: _json(bundle.schema)}
    for member in bundle.members:
        files[_config_name(member.number)] = _json(member.config)
        for fold, data in enumerate(member.folds):
            files[_fold_name(member.number, fold)] = data
    manifest = Manifest(
        format=FORMAT,
        muster_version=bundle.muster_version,
        contract_hash=bundle.contract_hash,
        rule=bundle.rule,
        metric=bundle.metric,
        members=tuple(member.number for member in bundle.members),
        weights=bundle.weights,
        temperatures=bundle.temperatures,
        factors=bundle.factors,
        files={n: FileEntry(sha256=_sha256(data), size=len(data)) for n, data in files.items()},
    )
    write_folder(path, {**files, MANIFEST: _json(manifest.sealed())})


def read_bundle(path: Path) -> Bundle:
    """The bundle in that folder, every byte of it checked against the manifest.

    Raises UserError, which names the file, for a folder that is no bundle, a newer format, a
    changed, missing or unknown file, a link, and names that lead out of the folder.
    """
    manifest = _read_manifest(path)
    _refuse_unknown_files(path, manifest)
    files = {name: _read_checked(path, name, entry) for name, entry in manifest.files.items()}
    members = []
    for number in manifest.members:
        config = _parse(TrialConfig, files, _config_name(number), path)
        prefix = f"members/{number}/fold"
        count = sum(name.startswith(prefix) for name in files)
        folds = [files.get(_fold_name(number, fold)) for fold in range(count)]
        if not folds or None in folds:
            raise UserError(
                f"{path}: the fold models of members/{number} are not complete; {MEND}"
            )
        members.append(Member(number, config, tuple(data for data in folds if data is not None)))
    schema = _parse(Schema, files, SCHEMA, path)
    if len(manifest.factors) not in (0, len(schema.classes)):
        raise UserError(f"{path / MANIFEST}: its factors are not one a class; {MEND}")
    return Bundle(
        schema=schema,
        members=tuple(members),
        rule=manifest.rule,
        metric=manifest.metric,
        contract_hash=manifest.contract_hash,
        muster_version=manifest.muster_version,
        weights=manifest.weights,
        temperatures=manifest.temperatures,
        factors=manifest.factors,
    )


def _read_manifest(path: Path) -> Manifest:
    place = path / MANIFEST
    if not place.is_file() or place.is_symlink():
        raise UserError(f"{path}: no bundle, {MANIFEST} is not there; name the bundle's folder")
    data = _read(place)
    try:
        raw = json.loads(data)
    except ValueError as fault:
        raise UserError(f"{place}: no JSON ({fault}); {MEND}") from fault
    found = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise UserError(
            f"{place}: bundle format {found}, this muster reads up to {FORMAT}; upgrade muster"
        )
    manifest = _validate(Manifest, data, place)
    if manifest.digest != manifest.sealed().digest:
        raise UserError(f"{place}: its content was changed; {MEND}")
    if not 1 <= manifest.format <= FORMAT:
        raise UserError(f"{place}: unknown bundle format {manifest.format}; {MEND}")
    if manifest.rule not in RULES:
        raise UserError(f"{place}: unknown voting rule {manifest.rule!r}; upgrade muster")
    for name in ("weights", "temperatures"):
        if len(getattr(manifest, name)) not in (0, len(manifest.members)):
            raise UserError(f"{place}: its {name} are not one a member; {MEND}")
    if manifest.weights and not sum(manifest.weights):
        raise UserError(f"{place}: its weights sum to 0, so nobody votes; {MEND}")
    strange = sorted(name for name in manifest.files if not NAME.fullmatch(name))
    if strange:
        raise UserError(f"{place}: lists {strange[0]!r}, which is no file of a bundle; {MEND}")
    return manifest


def _refuse_unknown_files(path: Path, manifest: Manifest) -> None:
    known = {*manifest.files, MANIFEST}
    folders = {parent.as_posix() for name in known for parent in Path(name).parents}
    for place in sorted(path.rglob("*")):
        name = place.relative_to(path).as_posix()
        if place.is_symlink():
            raise UserError(f"{place}: a link, which a bundle never holds; {MEND}")
        if name not in known and not (place.is_dir() and name in folders):
            raise UserError(f"{place}: not a file of this bundle; move it elsewhere")


def _read_checked(path: Path, name: str, entry: FileEntry) -> bytes:
    place = path / name
    if not place.is_file():
        raise UserError(f"{place}: missing; {MEND}")
    if place.stat().st_size != entry.size:
        raise UserError(
            f"{place}: {place.stat().st_size} bytes long instead of {entry.size}; {MEND}"
        )
    data = _read(place)
    if _sha256(data) != entry.sha256:
        raise UserError(f"{place}: its content was changed (SHA-256 differs); {MEND}")
    return data


def _read(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError as fault:
        raise UserError(f"{place}: cannot be read ({fault.strerror}); {MEND}") from fault


def _parse(model: type[M], files: dict[str, bytes], name: str, path: Path) -> M:
    if name not in files:
        raise UserError(f"{path / name}: missing; {MEND}")
    return _validate(model, files[name], path / name)


def _validate(model: type[M], data: bytes, place: Path) -> M:
    try:
        return model.model_validate_json(data)
    except ValidationError as fault:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'content'}: {error['msg']}"
            for error in fault.errors()
        )
        raise UserError(f"{place}: {problems}; {MEND}") from fault


def _refuse_to_replace_anything_else(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UserError(f"{path}: there is something else than a folder; name another place")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise UserError(f"{path}: a folder that holds no bundle; name an empty or a new one")


def _config_name(number: int) -> str:
    return f"members/{number}/config.json"


def _fold_name(number: int, fold: int) -> str:
    return f"members/{number}/fold{fold}.safetensors"


def _json(model: BaseModel) -> bytes:
    content: Any = model.model_dump(mode="json")
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
