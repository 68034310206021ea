"""The figures of an ensemble as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from muster_cli.console import progress, results
from muster_ensemble.estimate import SINGLE, Outcome
from muster_ensemble.ledger import Ledger
from muster_ensemble.standings import in_words

ROWS = {
    "random_guess": "random guess",
    "best_single": "best single trial",
    "ensemble": "chosen: {vote}",
}
COLUMNS = {
    "oof_macro_f1": "OOF macro-F1",
    "nested_macro_f1": "nested macro-F1",
    "test_macro_f1": "test macro-F1",
    "oof_accuracy": "OOF accuracy",
    "test_accuracy": "test accuracy",
}


def figures_table(summary: dict[str, Any]) -> Table:
    """Random guess, best single trial and vote against each other."""
    table = Table("", *COLUMNS.values(), box=None)
    for key, title in ROWS.items():
        values = (summary[key][column] for column in COLUMNS)
        shown = title.format(vote=in_words(summary["rule"]))
        table.add_row(shown, *("-" if value is None else f"{value:.4f}" for value in values))
    return table


def show_estimates(ledger: Ledger, outcome: Outcome) -> None:
    """Print who votes, and the nested figure of each rule beside the naive one."""
    members = ", ".join(
        f"{ledger.numbers[i]} {ledger.architectures[i]} ({weight:.2f})"
        for i, weight in zip(outcome.choice.members, outcome.choice.weights, strict=True)
    )
    results.print(f"{outcome.rule}: trials {members}")
    if len(ledger) == 1:
        progress.print("one completed trial alone decides; run more trials for an ensemble")
    metric = ledger.metric
    table = Table(f"nested {metric}", "", "95 % interval", "naive", "flatters by", "p", box=None)
    for name, each in outcome.estimates.items():
        against = "" if name == SINGLE else f"{each.p_value:.3f}"
        interval = f"{each.low:.4f} to {each.high:.4f}"
        figures = (f"{each.nested:.4f}", interval, f"{each.naive:.4f}", f"{each.optimism:+.4f}")
        table.add_row(name, *figures, against)
    results.print(table)
