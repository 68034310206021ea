"""Verbs through a proxy do what they do on an engine."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import optuna
import pytest
from benchmarks.servers import Server
from optuna.storages import GrpcStorageProxy
from optuna.trial import TrialState
from sqlalchemy import Engine

import muster_db
from databases import Emptied
from muster.errors import LeaseLost, Unavailable, UserError
from muster_db import blobs, database, datasets, progress, schema, trials, workers
from muster_db.distance import round_trip_seconds
from muster_db.engine import connect
from muster_db.joining import check_dataset
from muster_db.mirror import Mirror
from muster_db.proxy.client import Remote
from muster_db.proxy.messages import codec_of
from muster_db.proxy.server import OPTUNA_CONNECTIONS, Door, answer, serving
from muster_db.proxy.verbs import VERBS, by_name
from muster_db.study import list_studies, open_study
from proxies import HERE, LOOPBACK, proxied, url_of
from samples import make_dataset, make_study, proposer, run_out, take
from searches import load, tell


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Remote]]:
    """A database with its own engine, and a proxy beside it."""
    with proxied(tmp_path_factory.mktemp("proxy")) as found:
        yield found


@pytest.fixture
def engine(served: tuple[Engine, Remote]) -> Engine:
    return served[0]


@pytest.fixture
def remote(served: tuple[Engine, Remote]) -> Remote:
    return served[1]


def test_every_verb_that_takes_a_proxy_is_served() -> None:
    modules = [
        importlib.import_module(f"muster_db.{each.name}")
        for each in pkgutil.iter_modules(muster_db.__path__)
    ]
    either = database.remotable(progress.progress).__code__  # type: ignore[attr-defined]
    found = {
        verb
        for module in modules
        for verb in vars(module).values()
        if getattr(verb, "__code__", None) is either
    }
    assert found == set(VERBS)


def test_a_trial_lives_through_a_proxy_as_it_does_on_an_engine(
    engine: Engine, remote: Remote
) -> None:
    seen = [live(engine, each, name) for each, name in ((engine, "here"), (remote, "there"))]
    assert seen[0] == seen[1]


def live(engine: Engine, through: database.Database, name: str) -> list[object]:
    """Every verb of a worker once or more; what they answered and left behind."""
    fingerprint = datasets.store(engine, make_dataset())
    study = make_study(engine, name=name, budget=5, dataset_fingerprint=fingerprint)
    schema.check(through)
    joined = open_study(through, name)
    check_dataset(through, joined)
    assert round_trip_seconds(through) > 0.0
    worker = workers.register(through, joined, host="h", device="cpu")
    workers.describe(through, worker, workers.Equipment(slot=1, memory_bytes=2**40))
    mirror = Mirror(through, joined)
    draw = proposer(3)
    told, failed, released, pruned = (
        take(through, joined, worker_id=worker.worker_id, propose=draw) for _ in range(4)
    )
    ahead = take(through, joined, worker_id=worker.worker_id, propose=draw, ahead=True)
    trials.begin(through, ahead, redrawn=draw())
    trials.extend(through, told, pace=workers.Pace(3, 0.5))
    trials.report(through, told, [(0, float("nan")), (1, float("inf")), (2, 0.1 + 0.2)])
    data = np.random.default_rng(0).bytes(blobs.CHUNK_BYTES + 3)
    sha = blobs.put(through, data)
    trials.attach(through, told, {"checkpoint": sha})
    assert blobs.get(through, sha) == data
    assert trials.blob_names(through, told.trial_id) == {"checkpoint": sha}
    weights = blobs.put(through, name.encode())
    trials.tell(
        through,
        told,
        state=TrialState.COMPLETE,
        value=1 / 3,
        attributes={"note": "ü\n\u2028", "score": float("inf"), "parts": [1, 2.5, None]},
        blobs={"fold0": weights, "oof": sha},
        reports=[(3, 5e-324)],
    )
    is_told = trials.fail_attempt(through, failed, "Traceback: ü")
    trials.release(through, released, reports=[(0, 0.5)], blobs={"checkpoint": sha})
    trials.tell(
        through, pruned, state=TrialState.PRUNED, value=None, attributes={}, blobs={},
        is_first_news=True,
    )  # fmt: skip
    with pytest.raises(LeaseLost, match=f"trial {told.number}"):
        trials.extend(through, replace(told, token="another"))
    run_out(engine, ahead)
    moved = trials.reap(through, joined)
    dropped = [blobs.keep_best_weights(through, joined, keep=each) for each in (2, 1)]
    elsewhere = workers.has_failed_elsewhere(through, worker)
    workers.leave(through, worker, pace=workers.Pace(4, None))
    mirror.refresh()
    kept = [trial.params for trial in mirror.trials]
    facts = load(engine, name).trials
    again = workers.list_workers(engine, study)
    return [
        progress.progress(through, joined),
        progress.is_stopped(through, joined),
        replace(joined, study_id=0, name=""),
        (is_told, moved, dropped, elsewhere, kept),
        [
            (each.worker.ordinal, each.told, each.failed, each.equipment, each.pace)
            for each in again
        ],
        [
            (
                t.number,
                t.state,
                repr(t.values),
                t.params,
                repr(t.intermediate_values),
                t.user_attrs,
            )
            for t in facts
        ],
    ]


class Gone(grpc.RpcError):  # type: ignore[misc]  # gRPC ships no types
    """What gRPC raises for a connection that broke."""

    def code(self) -> Any:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the connection broke"


class Lossy:
    """A channel over which each call takes effect, and every first answer to it is lost."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def unary_unary(self, method: str) -> Callable[..., bytes]:
        send, lost = self._channel.unary_unary(method), []

        def once(message: bytes, **options: Any) -> bytes:
            answer: bytes = send(message, **options)
            if not lost:
                lost.append(answer)
                raise Gone
            return answer

        return once


@pytest.fixture
def lossy(remote: Remote) -> Iterator[Remote]:
    """The proxy behind a connection that loses answers."""
    whole, remote._channel = remote._channel, Lossy(remote._channel)
    yield remote
    remote._channel = whole


def test_verbs_whose_answer_is_lost_on_the_way_happen_once(engine: Engine, lossy: Remote) -> None:
    study = make_study(engine, name="lossy", budget=4, max_attempts=3)
    first = workers.register(lossy, study, host="h", device="cpu", token="a" * 32)
    second = workers.register(lossy, study, host="h", device="cpu", token="b" * 32)
    assert (first.ordinal, second.ordinal) == (0, 1)
    draw = proposer(4)
    taken = [take(lossy, study, worker_id=first.worker_id, propose=draw) for _ in range(3)]
    assert [each.number for each in taken] == [0, 1, 2]
    ahead = take(lossy, study, worker_id=first.worker_id, propose=draw, ahead=True)
    trials.begin(lossy, ahead, redrawn=draw())
    trials.release(lossy, taken[0])
    again = take(lossy, study, worker_id=second.worker_id, propose=draw)
    assert (again.number, again.attempt) == (0, 2)
    trials.fail_attempt(lossy, taken[1], "error")
    tell(lossy, taken[2], 0.5)
    tell(lossy, ahead, 0.25)
    assert progress.progress(lossy, study) == progress.StudyProgress(4, 2, 1, 1, "open")
    assert [each.failed for each in workers.list_workers(engine, study)] == [1, 0]


def test_workers_of_optuna_see_the_same_study(engine: Engine, remote: Remote) -> None:
    study = make_study(engine, name="both")
    tell(remote, take(remote, study), 0.75)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = GrpcStorageProxy(host=LOOPBACK, port=int(remote.place.rpartition(":")[2]))
    seen = optuna.load_study(study_name="both", storage=storage)
    assert (seen.best_value, len(seen.trials)) == (0.75, 1)
    assert seen.trials[0].params == load(engine, "both").trials[0].params
    seen.set_user_attr("team", ["ü"])
    assert load(engine, "both").user_attrs["team"] == ["ü"]
    storage.close()


def test_proxy_that_is_gone_is_unavailable_and_found_again_when_it_is_back(engine: Engine) -> None:
    with serving(url_of(engine), HERE, connections=1) as port:
        remote = Remote(f"grpc://{LOOPBACK}:{port}", patience_seconds=0.2)
        before = list_studies(remote)
    with pytest.raises(Unavailable, match="the proxy does not answer"):
        list_studies(remote)
    with serving(url_of(engine), Door(LOOPBACK, port), connections=1):
        remote.patience_seconds = 30.0
        assert list_studies(remote) == before
        with (
            pytest.raises(UserError, match=f"cannot listen on {LOOPBACK}:{port}"),
            serving(url_of(engine), Door(LOOPBACK, port), connections=1),
        ):
            pass
    remote.dispose()


class GivenUp:
    """What gRPC tells a server of a call whose client has gone."""

    def is_active(self) -> bool:
        return False


def test_call_that_its_worker_has_given_up_is_not_run(engine: Engine) -> None:
    study = make_study(engine, name="given up")
    verb = by_name()["workers.register"]
    message = codec_of(verb).write_call((study,), {"host": "h", "device": "cpu"}, again=False)
    assert answer(engine, verb, message, GivenUp()) == b""
    assert workers.list_workers(engine, study) == []


@pytest.mark.mariadb
def test_thirty_workers_share_the_few_connections_of_a_proxy(
    mariadb: Server, emptied: Emptied
) -> None:
    url = emptied.url()
    engine = connect(url)
    study = make_study(engine, budget=60)
    engine.dispose()
    admin = mariadb.connect(password="")

    def status(name: str) -> int:
        with admin.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE %s", (name,))
            return int(cursor.fetchall()[0][1])

    def work(seed: int) -> None:
        remote = Remote(f"grpc://{LOOPBACK}:{port}")
        worker = workers.register(remote, study, host="h", device="cpu")
        draw = proposer(seed)
        for _ in range(2):
            held = take(remote, study, worker_id=worker.worker_id, propose=draw)
            tell(remote, held, 0.5, blobs={"oof": blobs.put(remote, str(held.number).encode())})
        workers.leave(remote, worker)
        remote.dispose()

    with admin.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
    before = status("Threads_connected")
    with (
        serving(url, HERE, connections=2) as port,
        ThreadPoolExecutor(30) as threads,
    ):
        assert len(list(threads.map(work, range(30)))) == 30
    assert status("Max_used_connections") <= before + 2 + OPTUNA_CONNECTIONS
    admin.close()
    assert progress.progress(engine, study).told == 60
    joined = workers.list_workers(engine, study)
    assert [(each.worker.ordinal, each.told) for each in joined] == [(n, 2) for n in range(30)]
    engine.dispose()
