"""Where output goes: results to stdout, logs and progress to stderr."""

from __future__ import annotations

import json
import logging
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

results = Console(soft_wrap=True, highlight=False)
progress = Console(stderr=True, highlight=False)


def configure_logging(*, debug: bool) -> None:
    """Send muster's log to stderr: warnings and notices, everything with debug."""
    handler = RichHandler(
        console=progress, show_path=debug, show_level=debug, rich_tracebacks=debug
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in ("muster", "muster_db", "muster_worker", "muster_ensemble", "muster_dashboard"):
        logging.getLogger(package).setLevel(logging.DEBUG if debug else logging.INFO)


def print_json(value: Any) -> None:
    """Print plain data for a script."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
