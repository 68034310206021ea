"""Configurations that a search space file wants tried first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from muster.tunable import Fixed, Scalar, Setting, Table


def parse_first(
    entries: object, *, settings: Mapping[str, Setting], tables: Mapping[str, Table]
) -> tuple[list[dict[str, Scalar]], list[str]]:
    """Parameters by dotted name of each [[try_first]] table, and all problems of all of them.

    An entry has the file's own nested shape with values in place of ranges; architecture and loss
    are a name, or a table with choose = "..." and the chosen one's table. What an entry leaves
    out is drawn; what the space fixes may be repeated.
    """
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        return [], ["try_first: write each configuration as a table of its own, [[try_first]]"]
    found: list[dict[str, Scalar]] = []
    problems: list[str] = []
    for place, entry in enumerate(entries, start=1):
        params: dict[str, Scalar] = {}
        where = f"[[try_first]] {place}"
        for name, setting, value in _flatten(entry, settings, tables, where, problems):
            if setting is None or isinstance(value, dict | list):
                problems.append(f"{where} {name}: is not in [space] with such a value")
            elif not setting.contains(value):
                problems.append(f"{where} {name} = {value!r}: {setting.as_words()}")
            elif not isinstance(setting, Fixed):
                params[name] = setting.cast(value)
        if params and params in found:
            problems.append(f"{where} is the same as {found.index(params) + 1}; drop one")
        found.append(params)
    return found, problems


def _flatten(
    entry: Mapping[str, Any],
    settings: Mapping[str, Setting],
    tables: Mapping[str, Table],
    where: str,
    problems: list[str],
) -> Iterator[tuple[str, Setting | None, Any]]:
    """Dotted name, what the space says of it, and the value."""
    for key, value in entry.items():
        table = tables.get(key)
        if table is None:
            yield key, settings.get(key), value
            continue
        body = {"choose": value} if isinstance(value, str) else value
        chosen = _chosen(body, table)
        if chosen is None:
            known = ", ".join(table.choose)
            problems.append(f'{where} {key}: choose = "..." names one of {known}')
            continue
        if len(table.choose) > 1:
            yield key, table.as_choices(), chosen
        for name, options in body.items():
            if name == "choose":
                continue
            if name != chosen or not isinstance(options, dict):
                problems.append(f"{where} {key}.{name}: {chosen} is chosen, so drop this")
                continue
            for option, each in options.items():
                yield f"{key}.{name}.{option}", table.options.get(name, {}).get(option), each


def _chosen(body: object, table: Table) -> str | None:
    """What an entry chooses of a table: by name, or as the only one that it sets options of."""
    if not isinstance(body, dict):
        return None
    named: Sequence[object] = [body["choose"]] if "choose" in body else list(body)
    found = named[0] if len(named) == 1 else None
    return found if isinstance(found, str) and found in table.choose else None
