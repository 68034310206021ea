from __future__ import annotations

import pytest

from muster.errors import UserError
from muster.settings import Settings
from muster_cli.slots import Shares, parse_slots, share_out


@pytest.mark.parametrize(
    ("slots", "threads", "device", "shares"),
    [
        (2, None, "auto", Shares(2, 2, 4)),
        (3, None, "cpu", Shares(3, 3, 2)),
        (2, 3, "cpu", Shares(2, 2, 3)),
        (8, None, "cpu", Shares(8, 8, 1)),
        (12, None, "cuda:1", Shares(12, 12, 1)),
        ("auto", None, "auto", Shares(None, 8, 1)),
        ("auto", 3, "auto", Shares(None, 2, 3)),
        ("auto", 9, "cpu", Shares(None, 1, 9)),
    ],
)
def test_cores_are_shared_out(
    slots: int, threads: int | None, device: str, shares: Shares
) -> None:
    assert share_out(slots, threads=threads, device=device, cores=8) == shares


@pytest.mark.parametrize(("slots", "threads"), [(9, None), (2, 5)])
def test_more_threads_than_cores_are_refused(slots: int, threads: int | None) -> None:
    with pytest.raises(UserError, match="this machine has 8: lower --slots or --threads"):
        share_out(slots, threads=threads, device="auto", cores=8)


def test_option_counts_before_the_setting() -> None:
    assert parse_slots(None, Settings(slots="auto")) == "auto"
    assert parse_slots("3", Settings(slots="auto")) == 3
    assert parse_slots("auto", Settings()) == "auto"
    assert parse_slots(None, Settings()) == 1
    for wrong in ("0", "many", "1.5"):
        with pytest.raises(UserError, match=f"--slots {wrong}: give a number from 1, or auto"):
            parse_slots(wrong, Settings())
