"""Where output goes: results to stdout, logs and progress to stderr."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import ExitStack
from typing import Any

from rich.console import Console

# A file or a pipe gets whole lines: what rich would cut at 80 columns, a script would miss.
WIDE = 1000

# What a command opens and its end closes: a server counts who leaves without a word as aborted.
opened = ExitStack()

results = Console(
    soft_wrap=True, highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE
)
progress = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def configure_logging(*, debug: bool) -> None:
    """Send muster's log to stderr, a line each with its time; everything with debug."""
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(name)s %(message)s" if debug else "%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    # Predicting does without Optuna, and must not import it for the sake of its log.
    optuna = sys.modules.get("optuna")
    if optuna is not None:
        # Optuna's own handler would write to stderr beside ours.
        optuna.logging.disable_default_handler()
        optuna.logging.enable_propagation()
        optuna.logging.set_verbosity(logging.WARNING)
    for package in ("muster", "muster_db", "muster_worker", "muster_ensemble", "muster_dashboard"):
        logging.getLogger(package).setLevel(level)


def name_lines(name: str) -> None:
    """Begin every line of this process's log with a name, as others write to the same stderr."""

    def named(record: logging.LogRecord) -> bool:
        record.msg = f"{name}: {record.msg}"
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(named)


def print_json(value: Any) -> None:
    """Print plain data for a script."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
