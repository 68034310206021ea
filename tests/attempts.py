"""One attempt of a trial from beginning to end, without a courier's thread."""

from __future__ import annotations

from functools import partial
from threading import Event

from sqlalchemy import Engine

from muster.errors import LeaseLost
from muster_db import blobs, trials
from muster_db.claims import Claim
from muster_worker.outbox import CHECKPOINT, PREVIOUS, Outbox, Outcome
from muster_worker.run import Context, run_trial


def attempt(engine: Engine, context: Context, claim: Claim, *, stop: Event) -> Outcome:
    """Train a claimed trial from its newest checkpoint and tell how it ended."""
    names = trials.blob_names(engine, claim.trial_id)
    digests = [names[name] for name in (CHECKPOINT, PREVIOUS) if name in names]
    outbox = Outbox(claim, stored=digests[0] if digests else None)
    outbox.ending = run_trial(
        context,
        outbox,
        checkpoints=[partial(blobs.get, engine, each) for each in digests],
        stop=stop,
    )
    try:
        outbox.close(engine, pulse=lambda: None)
    except LeaseLost:
        return "lost"
    return outbox.ending.outcome
