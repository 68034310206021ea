"""A search space file: parse, validate, suggest."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from muster import losses, models
from muster.config import TrialConfig
from muster.errors import UserError
from muster.first import parse_first
from muster.spelling import known_names
from muster.tunable import Choices, Fixed, Range, Scalar, Setting, Table, Trial

# seed: a trial's seed comes from the study's, so that one seed decides everything.
NOT_SEARCHED = frozenset({"seed"})
TABLES = {"architecture": models, "loss": losses}


class Space(BaseModel):
    """A validated search space; source is the file's content as plain data.

    try_first: configurations to begin with, by dotted names; what they leave out is drawn.
    """

    model_config = ConfigDict(frozen=True)

    source: dict[str, Any]
    settings: dict[str, Setting]
    tables: dict[str, Table]
    try_first: tuple[dict[str, Scalar], ...] = ()

    def suggest(self, trial: Trial) -> TrialConfig:
        """Draw one configuration; parameters are named by their dotted path."""
        fields: dict[str, Any] = {
            name: table.suggest(name, trial) for name, table in self.tables.items()
        }
        fields |= {name: each.suggest(name, trial) for name, each in self.settings.items()}
        return TrialConfig(**fields)

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest fold that the space can ask for."""
        epochs = self.settings.get("epochs")
        if epochs is None:
            return int(TrialConfig.model_fields["epochs"].default)
        return max(int(end) for end in epochs.ends())


def load_space(path: Path) -> Space:
    """Read a search space file. Raises UserError that names every problem at once."""
    try:
        source = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such search space file; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_space(source, place=str(path))


def parse_space(source: Mapping[str, Any], *, place: str) -> Space:
    """Check plain data as load_space does; place is named in the messages."""
    problems = [
        f"[{key}]: unknown table; [space] and [[try_first]] are known"
        for key in source
        if key not in {"space", "try_first"}
    ]
    body = source.get("space")
    if not isinstance(body, dict):
        raise UserError(f"{place}: has no [space] table; see search_spaces/quickstart.toml")
    known = set(TrialConfig.model_fields) - NOT_SEARCHED
    settings: dict[str, Setting] = {}
    tables: dict[str, Table] = {}
    for key, value in body.items():
        if key not in known:
            problems.append(f"[space] {key}: unknown key; {known_names(key, sorted(known))}")
        elif key in TABLES:
            table, found = _table(key, value)
            problems += found
            if table is not None:
                tables[key] = table
        else:
            setting, found = _setting(f"space.{key}", value)
            problems += found
            if setting is not None:
                settings[key] = setting
                problems += _check_field(key, setting, TrialConfig.model_fields[key])
    if "architecture" not in body:
        problems.append(
            f"[space.architecture] is missing; choose from {', '.join(models.ARCHITECTURES)}"
        )
    # Against a space with problems of its own, each entry would seem to have some.
    first, found = (
        ([], [])
        if problems
        else parse_first(source.get("try_first", []), settings=settings, tables=tables)
    )
    problems += found
    if problems:
        raise UserError(f"{place}: {len(problems)} problem(s):\n  " + "\n  ".join(problems))
    return Space(source=dict(source), settings=settings, tables=tables, try_first=tuple(first))


def _setting(where: str, value: object) -> tuple[Setting | None, list[str]]:
    if isinstance(value, bool | int | float | str):
        return Fixed(value=value), []
    if not isinstance(value, dict):
        return None, [f"[{where}] is {value!r}; write a value, {{ low, high }} or {{ choices }}"]
    kind: type[Range] | type[Choices] = Choices if "choices" in value else Range
    try:
        return kind.model_validate(value), []
    except ValidationError as error:
        return None, [f"[{where}] {_sentence(each)}" for each in error.errors()]


def _sentence(error: Any) -> str:
    place = ".".join(
        str(part) for part in error["loc"] if not str(part).startswith(("int", "float"))
    )
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


def _table(key: str, value: object) -> tuple[Table | None, list[str]]:
    """Read architecture or loss: a name, or a table with choose and a table a choice."""
    if isinstance(value, str):
        value = {"choose": [value]}
    known = ", ".join(_registry(key))
    choose = value.get("choose") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(choose, list) or not choose:
        return None, [f'[space.{key}] needs choose = ["...", ...]; known are {known}']
    problems = [
        f"[space.{key}] choose: unknown {key} {name!r}; {known_names(str(name), _registry(key))}"
        for name in choose
        if name not in _registry(key)
    ]
    options: dict[str, dict[str, Setting]] = {}
    for name, body in value.items():
        if name == "choose":
            continue
        if name not in choose or not isinstance(body, dict):
            problems.append(f"[space.{key}.{name}] stands in no choose; add it there or drop it")
            continue
        options[name] = dict(_options(f"space.{key}.{name}", body, problems))
    for name in choose:
        if name in _registry(key):
            problems += _check_options(key, name, options.get(name, {}))
    return (None if problems else Table(choose=choose, options=options)), problems


def _options(
    where: str, body: Mapping[str, object], problems: list[str]
) -> Iterator[tuple[str, Setting]]:
    for option, value in body.items():
        setting, found = _setting(f"{where}.{option}", value)
        problems += found
        if setting is not None:
            yield option, setting


def _registry(key: str) -> Sequence[str]:
    return list(models.ARCHITECTURES if key == "architecture" else losses.LOSSES)


def _check_options(key: str, name: str, options: Mapping[str, Setting]) -> list[str]:
    """Ask the registry's own check about both ends of every option."""
    found: dict[str, None] = {}
    for option, setting in options.items():
        for end in setting.ends():
            for problem in TABLES[key].check_options(name, {option: end}):
                found[f"[space.{key}.{name}] {problem}"] = None
    return list(found)


def _check_field(key: str, setting: Setting, field: FieldInfo) -> list[str]:
    """Check every end of a setting against the field of the configuration that it fills."""
    problems = []
    if isinstance(setting, Range) and not {int, float} & set(_types(field)):
        return [f"[space.{key}] is not a number, so low and high do not fit; use choices"]
    if isinstance(setting, Range) and float not in _types(field):
        fractions = [end for end in (setting.low, setting.high) if isinstance(end, float)]
        if fractions:
            return [f"[space.{key}] {fractions[0]!r}: not an integer; write {round(fractions[0])}"]
    adapter: TypeAdapter[Any] = TypeAdapter(TrialConfig)
    for end in setting.ends():
        try:
            adapter.validate_python({"architecture": {"name": "any"}, key: end}, strict=False)
        except ValidationError as error:
            problems += [f"[space.{key}] {end!r}: {each['msg']}" for each in error.errors()]
    return problems


def _types(field: FieldInfo) -> tuple[Any, ...]:
    """The plain types behind a field's annotation, through unions and Annotated."""
    pending, plain = [field.annotation], []
    while pending:
        annotation = pending.pop()
        arguments = get_args(annotation)
        if arguments:
            pending += [each for each in arguments if isinstance(each, type) or get_args(each)]
        else:
            plain.append(annotation)
    return tuple(plain)
