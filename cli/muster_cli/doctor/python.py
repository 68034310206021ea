"""Is this Python new enough."""

from __future__ import annotations

from muster.findings import Finding, graded

OLDEST = (3, 11)


def judge_python(version: tuple[int, ...]) -> Finding:
    """version: as sys.version_info has it."""
    return graded(
        "Python",
        ".".join(map(str, version[:3])),
        fail=version[:2] < OLDEST,
        mend=f"install Python {OLDEST[0]}.{OLDEST[1]} or newer, and muster anew with it",
    )
