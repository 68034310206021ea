"""Where output goes: results to stdout, logs and progress to stderr."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from rich.console import Console

results = Console(soft_wrap=True, highlight=False)
progress = Console(stderr=True, highlight=False)


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
    for package in ("muster", "muster_db", "muster_worker", "muster_ensemble", "muster_dashboard"):
        logging.getLogger(package).setLevel(level)


def print_json(value: Any) -> None:
    """Print plain data for a script."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
