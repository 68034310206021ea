"""What a check of the surroundings found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One check's result. found: what is there. mend: what to do about it, where it is not ok."""

    check: str
    status: Status
    found: str
    mend: str = ""


def graded(check: str, found: str, *, fail: bool, warn: bool = False, mend: str) -> Finding:
    """A finding as bad as the worse of the two; mend is said only where one holds."""
    status: Status = "fail" if fail else "warn" if warn else "ok"
    return Finding(check, status, found, "" if status == "ok" else mend)
