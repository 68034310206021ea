from __future__ import annotations

import pytest
from typer.testing import CliRunner

from muster_cli.commands import app

HELP = {
    (): ("run", "worker", "status", "ensemble", "export", "predict", "dashboard", "db", "data"),
    ("run",): (
        "--space",
        "--trials",
        "--workers",
        "--name",
        "--out",
        "--folds",
        "--metric",
        "--seed",
        "--sampler",
        "--pruner",
        "--patience",
        "--patience-on",
        "--data-root",
        "--db",
    ),
    ("worker",): ("--study", "--device", "--threads", "--slots", "--db"),
    ("status",): ("--watch", "--json", "--db"),
    ("doctor",): ("--json", "--db"),
    ("fleet",): ("up", "list", "scale", "logs", "down"),
    ("fleet", "up"): ("--workers", "--study", "--gpus", "--image", "--send", "--network", "--db"),
    ("ensemble",): (
        "--wait",
        "--out",
        "--rule",
        "--members",
        "--per-architecture",
        "--min-disagreement",
        "--max-q",
        "--dry-run",
        "--db",
        "--json",
    ),
    ("export",): ("--out", "--rule", "--members", "--db"),
    ("bundle",): ("verify", "export"),
    ("bundle", "export"): ("BUNDLE", "--onnx"),
    ("bundle", "verify"): ("BUNDLE", "--data", "--data-root", "--db"),
    ("predict",): ("BUNDLE", "INPUT", "--out", "--proba"),
    ("dashboard",): ("--host", "--port", "--new-user", "--role", "--db"),
    ("db",): ("init", "upgrade"),
    ("db", "init"): ("--db",),
    ("data",): ("add", "list", "show"),
    ("data", "add"): ("--data-root", "--db"),
    ("data", "show"): ("--json", "--db"),
    ("study",): ("create", "list", "show", "stop", "resume", "delete"),
    ("study", "create"): ("--data", "--space", "--trials", "--if-absent", "--priority", "--seed"),
    ("study", "resume"): ("--trials", "--db"),
    ("study", "delete"): ("--yes", "--db"),
}


@pytest.mark.parametrize(("command", "named"), HELP.items(), ids=" ".join)
def test_help_names_what_the_command_takes(
    command: tuple[str, ...], named: tuple[str, ...]
) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert [word for word in named if word.lower() not in shown.output.lower()] == []


def test_help_names_every_metric_sampler_and_pruner() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "400"}).output
    for word in ("macro_f1", "log_loss", "tpe", "random", "median", "none"):
        assert word in shown


@pytest.mark.parametrize("group", [(), ("db",), ("data",), ("study",)], ids=" ".join)
def test_no_summary_of_a_command_is_cut_short(group: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).output
    assert "..." not in shown[shown.index("Commands:") :]


def test_help_needs_no_word_of_ours() -> None:
    for command in HELP:
        shown = CliRunner().invoke(app, [*command, "--help"]).output
        assert " told" not in shown


def test_run_names_its_own_default_database() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).output
    assert "OUT/muster.db" in shown
    assert "sqlite:///muster.db" not in shown


def test_unknown_option_is_the_users_input() -> None:
    assert CliRunner().invoke(app, ["status", "--nope"]).exit_code == 2
