"""The tables of docs/performance.md out of the results: python -m benchmarks.page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
CHART: Final = ROOT / "docs" / "scale.svg"
PAGE: Final = ROOT / "docs" / "performance.md"
RESULTS: Final = Path(__file__).parent / "results"
BLOCK: Final = re.compile(r"(<!-- (?P<name>[a-z.]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Rows = list[dict[str, Any]]


def filled(text: str, results: Path = RESULTS) -> str:
    """A page with each block between `<!-- NAME -->` and `<!-- end -->` written anew.

    NAME: a benchmark, or a part of one after a dot.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{_block(found['name'], results)}{found[4]}", text)


def write() -> None:
    """Bring docs/performance.md in line with the results."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _block(name: str, results: Path) -> str:
    if name == "scale.chart":
        return f"![Rate and latency]({CHART.name})\n" if CHART.exists() else ""
    benchmark, _, part = name.partition(".")
    file = results / f"{benchmark}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    rows = found if not part or found is None else found.get(part)
    if rows is None:
        return f"Not measured yet: `make bench-{benchmark}`.\n"
    return BLOCKS[name](rows)


def _promises(rows: Rows) -> str:
    heads = ("figure", "plain Optuna", "muster", "promised", "holds")
    return _table(
        heads,
        (
            (
                row["name"],
                _figure(row["plain"], row["unit"]),
                _figure(row["muster"], row["unit"]),
                _promise(row),
                "yes" if row["holds"] else "no",
            )
            for row in rows
        ),
    )


def _promise(row: dict[str, Any]) -> str:
    bound = "at least" if row["more_is_better"] else "at most"
    if row.get("is_ratio", False):
        return f"{bound} {row['target']:.2g} of plain Optuna's"
    return f"{bound} {_figure(row['target'], row['unit'])}"


def _crowds(rows: Rows) -> str:
    verbs = ("claim", "begin", "report", "tell", "news", "draw")
    costs = ("server_cpu_ms_a_trial", "workers_cpu_ms_a_trial", "statements_a_trial")
    heads = ("workers", "trials/s", "CPU of the server, ms a trial", "of the workers")
    return _table(
        (*heads, "statements a trial", *(f"{verb}, ms" for verb in verbs)),
        (
            (
                f"{row['workers']}",
                _figure(row["per_second"]),
                *(_figure(row[cost]) for cost in costs),
                *_medians(row, verbs),
            )
            for row in rows
        ),
    )


def _steps(rows: Rows) -> str:
    verbs = ("claim", "begin", "tell", "news", "draw")
    return _table(
        ("trials told", "trials/s", *(f"{verb}, ms" for verb in verbs)),
        (
            (f"{row['told']:,}", _figure(row["per_second"]), *_medians(row, verbs))
            for row in rows
            if "told" in row
        ),
    )


def _training(rows: Rows) -> str:
    heads = ("workers", "a second and worker: statements", "CPU of the server, ms", "report, ms")
    return _table(
        heads,
        (
            (
                f"{row['workers']}",
                _figure(row["statements_a_second_a_worker"]),
                _figure(row["server_cpu_ms_a_second_a_worker"]),
                *_medians(row, ("report",)),
            )
            for row in rows
        ),
    )


def _looks(rows: Rows) -> str:
    return _table(
        ("", "plain Optuna", "muster"),
        (
            (row["name"], *(_figure(row[kind], row["unit"]) for kind in ("plain", "muster")))
            for row in rows
        ),
    )


BLOCKS: Final[dict[str, Callable[[Rows], str]]] = {
    "coordination": _promises,
    "scale.workers": _crowds,
    "scale.trials": _steps,
    "scale.far": _crowds,
    "scale.training": _training,
    "scale.looks": _looks,
    "scale.memory": _looks,
}


def _medians(row: dict[str, Any], verbs: Sequence[str]) -> list[str]:
    found = [row["ms"].get(verb) for verb in verbs]
    return ["-" if each is None else _figure(each[0]) for each in found]


def _figure(value: float | None, unit: str = "") -> str:
    """Three digits."""
    if value is None:
        return "-"
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {unit}".strip()


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    write()
