from __future__ import annotations

from pathlib import Path

import yaml

FILE = Path(__file__).parents[2] / "docker-compose.yml"


def test_no_image_that_is_built_here_is_looked_for_in_a_registry() -> None:
    services = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    ours = {name: each for name, each in services.items() if "PROJECT_NAME" in each["image"]}
    assert set(ours) == {"migrate", "study", "worker", "ensemble", "dashboard"}
    assert {each["pull_policy"] for each in ours.values()} == {"never"}
    built = {each["image"] for each in ours.values() if "build" in each}
    assert {each["image"] for each in ours.values()} == built
