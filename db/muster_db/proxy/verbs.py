"""The verbs that a proxy runs for its workers."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any, Final

from muster_db import (
    blobs,
    claims,
    datasets,
    distance,
    news,
    progress,
    schema,
    study,
    trials,
    workers,
)
from muster_db.proxy.client import name_of

# All that a worker needs, and nothing that makes, changes or deletes a study.
VERBS: Final[tuple[Callable[..., Any], ...]] = (
    schema.check,
    distance.answer,
    study.list_studies,
    progress.progress,
    progress.is_stopped,
    datasets.list_datasets,
    workers.register,
    workers.describe,
    workers.leave,
    workers.has_failed_elsewhere,
    claims.take_left,
    claims.take_new,
    news.read_news,
    trials.begin,
    trials.extend,
    trials.report,
    trials.attach,
    trials.release,
    trials.tell,
    trials.fail_attempt,
    trials.reap,
    trials.blob_names,
    blobs.settle,
    blobs.write_chunk,
    blobs.size_of,
    blobs.read_chunk,
    blobs.drop_weights,
)


def by_name() -> dict[str, Callable[..., Any]]:
    """The verbs as they run on an engine, by the names that workers call them by."""
    return {name_of(verb): unwrap(verb) for verb in VERBS}
