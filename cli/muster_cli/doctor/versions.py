"""Is this muster the one that the studies were made with."""

from __future__ import annotations

from collections.abc import Mapping

from muster.findings import Finding


def judge_muster(version: str, studies: Mapping[str, str]) -> Finding:
    """studies: open ones by name, with the version that their contract names."""
    others = {name: each for name, each in studies.items() if each != version}
    if not others:
        return Finding("muster", "ok", version)
    named = ", ".join(f"{name} ({each})" for name, each in sorted(others.items()))
    is_useless = len(others) == len(studies)
    return Finding(
        "muster",
        "fail" if is_useless else "warn",
        f"{version}; of another version: {named}",
        f"install muster {sorted(set(others.values()))[-1]} to work on these",
    )
