from __future__ import annotations

import pytest

from muster_db.workers import Pace
from muster_worker.meter import Meter


def test_a_meter_has_no_pace_before_the_first_epoch() -> None:
    assert Meter().pace == Pace(0, None)


def test_the_pace_is_that_of_the_last_half_minute_of_training() -> None:
    meter = Meter()
    for seconds in [5.0] * 100 + [0.5] * 60:
        meter.epoch(seconds)
    assert meter.pace == Pace(160, pytest.approx(2.0))


def test_an_epoch_longer_than_that_counts_alone() -> None:
    meter = Meter()
    for seconds in (1.0, 100.0):
        meter.epoch(seconds)
    assert meter.pace == Pace(2, 0.01)
