"""What all readers share: the database is asked once every few seconds, however many look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock
from typing import Any, Final

from optuna.distributions import BaseDistribution
from sqlalchemy import Connection, Engine

from muster.errors import MusterError
from muster_db import ensembles, records, trials, watching
from muster_db.clock import now
from muster_db.engine import transact
from muster_db.ensembles import Snapshot
from muster_db.study import OPEN, Study, list_studies
from muster_db.watching import SeenTrial, StudyHead
from muster_db.workers import WorkerActivity, list_workers

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 2.0
# Who looks while another reads gets what there is, if it is no older.
STALE_SECONDS: Final = 10.0
# Stands for the study that is shown where none is named.
ANY: Final = ""
# A study that nobody has looked at for so long is not read any more.
WANTED_SECONDS: Final = 60.0
REAP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class StudySight:
    """One study at one moment. trials: by number. attributes, facts: JSON texts, as in Optuna."""

    study: Study
    head: StudyHead
    trials: Sequence[SeenTrial]
    distributions: Mapping[str, BaseDistribution]
    workers: Sequence[WorkerActivity]
    ensemble: Snapshot | None
    attributes: Mapping[str, str]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Sight:
    """The studies at one moment by the database's clock, and those looked at in full, by name.

    kept: what pages made of it, so that it is made once.
    """

    at: datetime
    heads: Sequence[StudyHead]
    contracts: Mapping[int, Study]
    studies: Mapping[str, StudySight]
    kept: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def keep(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """What make gives, made once for this sight (or twice, where two ask at one moment)."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


class Board:
    """Threads share it. looks: how often the database was asked; errors: how often in vain."""

    def __init__(self, engine: Engine, *, every_seconds: float = EVERY_SECONDS) -> None:
        self.looks = 0
        self.errors = 0
        self._engine = engine
        self._every_seconds = every_seconds
        self._reading = Lock()
        self._noting = Lock()
        self._sight: Sight | None = None
        self._error: MusterError | None = None
        self._read_at = float("-inf")
        self._reaped_at = float("-inf")
        self._wanted: dict[str, float] = {}

    def look(self, *names: str) -> Sight:
        """All studies, these of them in full where they exist. Raises what transact raises.

        ANY among the names is the study of first_choice. A study that is looked at for the first
        time in a while may take one more look to come.
        """
        with self._noting:
            self._wanted |= dict.fromkeys(names, time.monotonic())
        if not self._reading.acquire(blocking=not self._is_usable(names)):
            return self._usable()
        try:
            if not self._is_fresh(names):
                self._wait_for_turn()
                self._read()
            if self._error is not None:
                raise self._error
            return self._usable()
        finally:
            self._reading.release()

    def forget(self) -> None:
        """Read anew at the next look: somebody has changed something."""
        self._read_at = min(self._read_at, time.monotonic() - self._every_seconds)

    def is_reachable(self) -> bool:
        """Whether the database answers."""
        try:
            self.look()
        except MusterError:
            return False
        return True

    def _is_usable(self, names: Sequence[str]) -> bool:
        age = time.monotonic() - self._read_at
        return self._sight is not None and age < STALE_SECONDS and self._covers(names)

    def _usable(self) -> Sight:
        if self._sight is None:
            raise RuntimeError("there is no sight yet")
        return self._sight

    def _is_fresh(self, names: Sequence[str]) -> bool:
        is_new = time.monotonic() - self._read_at < self._every_seconds
        return is_new and (self._error is not None or self._covers(names))

    def _covers(self, names: Sequence[str]) -> bool:
        sight = self._sight
        if sight is None or self._error is not None:
            return False
        return all(name in sight.studies for name in _resolve(names, sight.heads))

    def _wait_for_turn(self) -> None:
        """For a study that was not wanted so far: the database is asked no more often for it."""
        wait = self._read_at + self._every_seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    def _read(self) -> None:
        self._reap()
        self.looks += 1
        try:
            self._sight = self._see()
        except MusterError as error:
            self.errors += 1
            if self._error is None:
                log.warning("%s", error)
            self._error = error
        else:
            if self._error is not None:
                log.warning("the database answers again")
            self._error = None
        self._read_at = time.monotonic()

    def _see(self) -> Sight:
        old = self._sight
        contracts = {} if old is None else dict(old.contracts)
        heads = transact(self._engine, watching.read_heads, read_only=True)
        if any(head.study_id not in contracts for head in heads):
            contracts = {study.study_id: study for study in list_studies(self._engine)}
        seen = {} if old is None else old.studies
        names = _resolve(self._still_wanted(heads), heads)
        wanted = [head for head in heads if head.name in names and head.study_id in contracts]
        crews = {
            head.study_id: list_workers(self._engine, contracts[head.study_id]) for head in wanted
        }

        def verb(connection: Connection) -> Sight:
            return Sight(
                at=now(connection),
                heads=heads,
                contracts=contracts,
                studies={
                    head.name: _see_study(
                        connection, head, contracts[head.study_id], seen.get(head.name), crews
                    )
                    for head in wanted
                },
            )

        return transact(self._engine, verb, read_only=True)

    def _still_wanted(self, heads: Sequence[StudyHead]) -> list[str]:
        """Names that somebody asked for of late; what is no study is forgotten."""
        horizon = time.monotonic() - WANTED_SECONDS
        known = {head.name for head in heads} | {ANY}
        with self._noting:
            self._wanted = {
                name: at for name, at in self._wanted.items() if at > horizon and name in known
            }
            return list(self._wanted)

    def _reap(self) -> None:
        """Release what dead workers hold, as everybody does who looks."""
        if time.monotonic() - self._reaped_at < REAP_SECONDS:
            return
        self._reaped_at = time.monotonic()
        try:
            trials.reap(self._engine)
        except MusterError as error:
            # A viewer's account may not, and a database that is away is noticed by the look.
            log.debug("nothing was released: %s", error)


def first_choice(heads: Sequence[StudyHead]) -> str | None:
    """The study to show where none is named: one that is at work, else the newest."""
    at_work = [head.name for head in heads if head.state == OPEN and head.told < head.budget]
    newest = max(heads, key=lambda head: head.study_id, default=None)
    return next(iter(at_work), None if newest is None else newest.name)


def _resolve(names: Iterable[str], heads: Sequence[StudyHead]) -> set[str]:
    """Those of the names that are studies, and the one that ANY stands for."""
    known = {head.name for head in heads}
    found = {first_choice(heads) if name == ANY else name for name in names}
    return {name for name in found if name is not None and name in known}


def _see_study(
    connection: Connection,
    head: StudyHead,
    study: Study,
    old: StudySight | None,
    crews: Mapping[int, Sequence[WorkerActivity]],
) -> StudySight:
    if old is not None and old.head.study_id != head.study_id:
        old = None
    since = 0 if old is None else old.head.revision
    known = {} if old is None else {trial.number: trial for trial in old.trials}
    changed = watching.read_trials(connection, head.study_id, since=since)
    known |= {trial.number: trial for trial in changed}
    distributions = {} if old is None else dict(old.distributions)
    for trial in changed:
        if any(name not in distributions for name, _ in trial.params):
            found = records.read_internal_params(connection, [trial.trial_id])[trial.trial_id]
            distributions |= {name: each for name, _, each in found}
    attributes, facts = watching.read_facts(connection, head.study_id)
    return StudySight(
        study=replace(study, budget=head.budget),
        head=head,
        trials=[known[number] for number in sorted(known)],
        distributions=distributions,
        workers=crews[head.study_id],
        ensemble=ensembles.read_current(connection, head.study_id),
        attributes=attributes,
        facts=facts,
    )
