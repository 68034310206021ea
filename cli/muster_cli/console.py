"""Where output goes: results to stdout, logs and progress to stderr."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import ExitStack
from typing import IO, Any, cast

from rich.console import Console

from muster.settings import log_format
from muster_cli.logs import Lines, Logged, Objects

# A file or a pipe gets whole lines: what rich would cut at 80 columns, a script would miss.
WIDE = 1000

OWN = logging.getLogger("muster_cli")
PACKAGES = (
    "muster", "muster_cli", "muster_db", "muster_worker", "muster_ensemble", "muster_dashboard"
)  # fmt: skip

# What a command opens and its end closes: a server counts who leaves without a word as aborted.
opened = ExitStack()

results = Console(
    soft_wrap=True, highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE
)
progress = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def configure_logging(*, debug: bool) -> None:
    """Send muster's log to stderr, a line each with its time; everything with debug.

    With MUSTER_LOG_FORMAT=json each line is an object, and so is what else goes to stderr.
    """
    level = logging.DEBUG if debug else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    if log_format() == "json":
        handler.setFormatter(Objects())
        progress.file = cast(IO[str], Logged(OWN, sys.stderr))
    else:
        text = "%(asctime)s %(name)s %(message)s" if debug else "%(asctime)s %(message)s"
        handler.setFormatter(Lines(text, datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Predicting does without Optuna, and must not import it for the sake of its log.
    optuna = sys.modules.get("optuna")
    if optuna is not None:
        # Optuna's own handler would write to stderr beside ours.
        optuna.logging.disable_default_handler()
        optuna.logging.enable_propagation()
        optuna.logging.set_verbosity(logging.WARNING)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level)


def complain(message: str) -> None:
    """Say on stderr why a command failed."""
    if log_format() == "json":
        OWN.error("%s", message)
    else:
        progress.print(f"muster: {message}", soft_wrap=True)


def name_slot(slot: int) -> None:
    """Mark every line of this process's log with its slot: others write to the same stderr."""

    def named(record: logging.LogRecord) -> bool:
        record.msg = f"slot {slot}: {record.msg}"
        return True

    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Objects):
            handler.setFormatter(Objects(slot=slot))
        else:
            handler.addFilter(named)


def print_json(value: Any) -> None:
    """Print plain data for a script."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
