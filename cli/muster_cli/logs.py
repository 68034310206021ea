"""The log's two forms: lines for people, objects for machines. Neither shows a password."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Final, TextIO

from muster.logs import current_facts

# Between the user's name and the host of a URL, and in a URL's query.
SECRETS: Final = (
    (re.compile(r"(://[^/\s:@]*:)[^\s/]*@"), r"\1***@"),
    (re.compile(r"(passw\w*=)[^\s&;]+", re.IGNORECASE), r"\1***"),
)


def hide(text: str) -> str:
    """The text without what looks like a password in a URL."""
    for pattern, shown in SECRETS:
        text = pattern.sub(shown, text)
    return text


class Lines(logging.Formatter):
    """A line with its time for people."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class Objects(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the line is about.

    time: ISO 8601 in UTC. error: the traceback, if any. slot: of a worker with several.
    """

    def __init__(self, **facts: object) -> None:
        super().__init__()
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": hide(record.getMessage()),
            **self._facts,
            **current_facts(),
        }
        if record.exc_info:
            found["error"] = hide(self.formatException(record.exc_info))
        return json.dumps(found, ensure_ascii=False, default=str)


class Logged:
    """A stream that logs what is written to it, a record a line; a console writes into it."""

    def __init__(self, logger: logging.Logger, stream: TextIO) -> None:
        self._logger = logger
        self._stream = stream
        self._rest = ""

    def write(self, text: str) -> int:
        """Log each line that is whole by now."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.info("%s", line)
        return len(text)

    def flush(self) -> None:
        """Records are written at once."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Nobody redraws what is logged."""
        return False
