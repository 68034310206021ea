"""An exported ensemble: safetensors and JSON in a folder or .zip, each file with its SHA-256.

Reading it needs neither Optuna nor a database, and unpickles nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from muster.config import TrialConfig
from muster.data.schema import Schema
from muster.errors import UserError
from muster.voting import RULES
from muster_ensemble.storage import MEND, ZIP, list_files, read_files, write_files

FORMAT = 3
# What a format's manifest has and those before it have not: the vote, then what verifying takes.
ADDED = {2: {"weights", "temperatures", "factors"}, 3: {"figure", "versions"}}
MANIFEST = "manifest.json"
SCHEMA = "schema.json"
CONTRACT = "contract.json"
NAME = re.compile(
    r"(?:schema|contract)\.json|members/\d{1,9}/(?:config\.json|fold\d{1,3}\.safetensors)"
)
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
M = TypeVar("M", bound=BaseModel)
LARGEST_JSON = 2**27


@dataclass(frozen=True)
class Member:
    """One trial of the ensemble. folds: the bytes of each fold's model, safetensors."""

    number: int
    config: TrialConfig
    folds: tuple[bytes, ...]


@dataclass(frozen=True)
class Bundle:
    """What predicts on its own. rule: a name of muster.voting.RULES. metric: the study's.

    weights, temperatures, factors: as muster.voting.vote takes them. contract: its canonical
    text, whose SHA-256 is contract_hash. figure: the metric of the vote over the out-of-fold
    predictions that chose it. versions: of the packages at export. Bundles of before format 3
    lack these three.
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
    contract: str | None = None
    figure: float | None = None
    versions: dict[str, str] = field(default_factory=dict)


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
    figure: FiniteFloat | None = None
    versions: dict[str, str] = {}
    files: dict[str, FileEntry]
    digest: str = ""

    def sealed(self) -> Manifest:
        """The same manifest with the digest that belongs to it."""
        left_out = {"digest"}.union(
            *(new for number, new in ADDED.items() if number > self.format)
        )
        plain = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)
        return self.model_copy(update={"digest": _sha256(plain.encode())})


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write folder or .zip, whole, in place of an older bundle or an empty folder at most.

    Raises UserError when something else is there, or when it cannot be written.
    """
    _refuse_to_replace_anything_else(path)
    files = {SCHEMA: _json(bundle.schema)}
    if bundle.contract is not None:
        files[CONTRACT] = bundle.contract.encode()
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
        figure=bundle.figure,
        versions=bundle.versions,
        files={n: FileEntry(sha256=_sha256(data), size=len(data)) for n, data in files.items()},
    )
    write_files(path, {**files, MANIFEST: _json(manifest.sealed())})


def read_bundle(path: Path) -> Bundle:
    """The bundle in that folder or .zip, every byte of it checked against the manifest.

    Nothing is unpacked to the disk. Raises UserError, which names the file, for what is no bundle,
    a newer format, a changed, missing or unknown file, a link, and names that lead elsewhere.
    """
    sizes = list_files(path)
    manifest = _read_manifest(path, sizes)
    _refuse_other_files(path, manifest, sizes)
    files = read_files(path, {name: sizes[name] for name in manifest.files})
    for name, entry in manifest.files.items():
        if _sha256(files[name]) != entry.sha256:
            raise UserError(f"{path / name}: its content was changed (SHA-256 differs); {MEND}")
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
    contract = files.get(CONTRACT)
    if contract is not None and _sha256(contract) != manifest.contract_hash:
        raise UserError(f"{path / CONTRACT}: not the contract that the manifest names; {MEND}")
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
        contract=None if contract is None else contract.decode(errors="replace"),
        figure=manifest.figure,
        versions=manifest.versions,
    )


def _read_manifest(path: Path, sizes: dict[str, int]) -> Manifest:
    place = path / MANIFEST
    if MANIFEST not in sizes:
        raise UserError(
            f"{path}: no bundle, {MANIFEST} is not there; name the bundle's folder, or a .zip "
            "whose first level is the bundle's"
        )
    if sizes[MANIFEST] > LARGEST_JSON:
        raise UserError(f"{place}: {sizes[MANIFEST]} bytes long, so no manifest; {MEND}")
    data = read_files(path, {MANIFEST: sizes[MANIFEST]})[MANIFEST]
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as fault:
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


def _refuse_other_files(path: Path, manifest: Manifest, sizes: dict[str, int]) -> None:
    """UserError for files that the manifest does not list, or lists in another size."""
    for name in sizes:
        if name not in manifest.files and name != MANIFEST:
            raise UserError(f"{path / name}: not a file of this bundle; move it elsewhere")
    for name, entry in manifest.files.items():
        if name not in sizes:
            raise UserError(f"{path / name}: missing; {MEND}")
        if sizes[name] != entry.size:
            raise UserError(
                f"{path / name}: {sizes[name]} bytes long instead of {entry.size}; {MEND}"
            )


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
    if path.suffix == ZIP:
        if path.is_symlink() or (path.exists() and not _is_bundle(path)):
            raise UserError(f"{path}: there is something else than a bundle; name another place")
        return
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UserError(f"{path}: there is something else than a folder; name another place")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise UserError(f"{path}: a folder that holds no bundle; name an empty or a new one")


def _is_bundle(path: Path) -> bool:
    try:
        return path.is_file() and MANIFEST in list_files(path)
    except UserError:
        return False


def _config_name(number: int) -> str:
    return f"members/{number}/config.json"


def _fold_name(number: int, fold: int) -> str:
    return f"members/{number}/fold{fold}.safetensors"


def _json(model: BaseModel) -> bytes:
    content: Any = model.model_dump(mode="json")
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
