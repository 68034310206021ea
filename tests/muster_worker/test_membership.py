"""Members on a real server with TLS: what they may do, and how their membership ends."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from benchmarks.servers import PASSWORD, Server, server_binary
from sqlalchemy import Engine, make_url, text
from typer.testing import CliRunner, Result

from certificates import Authority
from commands import wait_until
from conftest import NO_SERVER
from muster.errors import AccessDenied, MembershipEnded, MusterError, NotAllowed, UserError
from muster.settings import Settings
from muster_cli.commands import app
from muster_cli.invitation import PARTING_SECONDS, membership
from muster_db import accounts, blobs, members, schema, tokens, trials, workers
from muster_db.engine import connect, now, transact
from muster_db.members import Invited, Presence, invite, list_members, revoke
from muster_db.mirror import Mirror
from muster_db.study import Study, delete_study
from muster_db.tokens import Token
from muster_worker.loop import work
from muster_worker.machine import find_machine
from samples import proposer, run_out, take
from searches import tell

pytestmark = pytest.mark.mariadb

MakeStudy = Callable[..., Study]
# As docs/team.md and the compose stack grant them.
ADMIN = (
    "CREATE USER 'admin'@'%' IDENTIFIED BY 'admin-of-the-tests'",
    "GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO 'admin'@'%'",
    "GRANT ALL ON `muster%`.* TO 'admin'@'%' WITH GRANT OPTION",
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The CA of the server's certificate."""
    return Authority()


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    """A server that takes nothing but TLS; who is admin may invite."""
    if server_binary() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_SERVER)
        pytest.skip(NO_SERVER)
    with tempfile.TemporaryDirectory(prefix="muster-mariadb-") as name:
        folder = Path(name)
        options = ["--event-scheduler=ON", "--require-secure-transport=ON"]
        signed = authority.sign()
        files = {"ca": authority.pem, "cert": signed.certificate, "key": signed.key}
        for kind, pem in files.items():
            (folder / f"{kind}.pem").write_text(pem)
            options.append(f"--ssl-{kind}={folder / kind}.pem")
        started = Server(folder, options=options)
        started.install()
        with started.connect(password="") as connection, connection.cursor() as cursor:
            for statement in ADMIN:
                cursor.execute(statement)
        try:
            yield started
        finally:
            started.stop()


@pytest.fixture(scope="module")
def admin_url(
    server: Server, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The admin's URL of an initialised database, which the tests share."""
    ca = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.write_text(authority.pem)
    url = make_url(server.make_database("muster_team"))
    url = url.set(username="admin", password="admin-of-the-tests")
    text = url.update_query_dict({"ssl_ca": str(ca)}).render_as_string(hide_password=False)
    engine = connect(text)
    schema.initialise(engine)
    engine.dispose()
    return text


@pytest.fixture
def engine(admin_url: str) -> Iterator[Engine]:
    """The admin's engine."""
    connected = connect(admin_url, patience_seconds=2.0)
    yield connected
    connected.dispose()


@pytest.fixture
def join(engine: Engine, authority: Authority, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Connects as a member who was just invited."""
    opened: list[Engine] = []

    def as_member(invited: Invited, *, pem: str = authority.pem) -> Engine:
        url = tokens.url_of(
            tokens.read(tokens.write(token_of(invited, engine, pem))), folder=tmp_path
        )
        opened.append(connect(url.render_as_string(hide_password=False), patience_seconds=2.0))
        return opened[-1]

    yield as_member
    for each in opened:
        each.dispose()


@pytest.fixture
def command(admin_url: str, tmp_path: Path) -> Callable[..., Result]:
    """Runs muster in this process, as admin or with a join token."""

    def call(*words: str, join: str | None = None, stdin: str | None = None) -> Result:
        where = {"MUSTER_DB_URL": admin_url} if join is None else {"MUSTER_JOIN": join}
        settings = {"MUSTER_CACHE_DIR": str(tmp_path), "MUSTER_PROBE_SECONDS": "0"}
        runner = CliRunner(env={"MUSTER_DB_URL": None, "MUSTER_JOIN": None, **settings, **where})
        return runner.invoke(app, list(words), input=stdin)

    return call


def token_of(invited: Invited, engine: Engine, pem: str) -> Token:
    return Token(
        host=engine.url.host, port=engine.url.port, database=engine.url.database,
        user=invited.member.account, password=invited.password, ca=pem, is_host_checked=True,
        member=invited.member.name, role=invited.member.role,
    )  # fmt: skip


def invited(engine: Engine, name: str, **changes: object) -> Invited:
    return invite(engine, name, **{"role": "worker", "study": None, "seconds": None, **changes})


def presence_of(engine: Engine, *accounts: Invited) -> list[Presence]:
    wanted = {each.member.account for each in accounts}
    return [each for each in list_members(engine) if each.account in wanted]


def run(engine: Engine, sql: str) -> list[tuple[object, ...]]:
    return transact(
        engine, lambda connection: [tuple(row) for row in connection.execute(text(sql))]
    )


def test_a_worker_may_do_all_that_trials_need(
    engine: Engine, make_study: MakeStudy, join: Callable[..., Engine]
) -> None:
    study = make_study(name="short", budget=4)
    hers = join(invited(engine, "anna"))
    schema.check(hers)
    worker = workers.register(hers, study, host="box", device="GPU")
    propose = proposer(1)
    claim = take(hers, study, worker_id=worker.worker_id, propose=propose)
    trials.report(hers, claim, [(0, 0.5)])
    for content in (b"first", b"second"):
        trials.attach(hers, claim, {"checkpoint": blobs.put(hers, content)})
    trials.release(hers, claim)
    claim = take(hers, study, worker_id=worker.worker_id, propose=propose)
    trials.fail_attempt(hers, claim, "failed")
    claim = take(hers, study, worker_id=worker.worker_id, propose=propose)
    tell(hers, claim, 0.5, attributes={"a": 1}, blobs={"oof": blobs.put(hers, b"oof")})
    ahead = take(hers, study, worker_id=worker.worker_id, propose=propose, ahead=True)
    trials.begin(hers, ahead, redrawn=propose())
    blobs.keep_best_weights(hers, study, keep=1)
    trials.reap(hers)
    Mirror(hers, study).refresh()
    workers.leave(hers, worker)


REFUSED = {
    "drop a table": "DROP TABLE muster_verbs",
    "change a table": "ALTER TABLE muster_verbs ADD COLUMN x INT",
    "make a table": "CREATE TABLE mine (x INT)",
    "read the accounts of others": "SELECT * FROM mysql.user",
    "read their passwords": "SELECT * FROM mysql.global_priv",
    "read the members": "SELECT * FROM muster_members",
    "see their grants": "SHOW GRANTS FOR 'admin'@'%'",
    "make a study": "INSERT INTO studies (study_name) VALUES ('x')",
    "remove a trial": "DELETE FROM muster_trials",
    "remove a dataset": "DELETE FROM muster_datasets",
    "invite": "CREATE USER 'mallory'@'%'",
    "pass rights on": "GRANT SELECT ON muster_trials TO 'admin'@'%'",
    "do without TLS": "ALTER USER CURRENT_USER() REQUIRE NONE",
}
WRITES = {
    "claim": "UPDATE muster_studies SET claimed = claimed + 1",
    "tell": "UPDATE muster_trials SET state = 'told'",
    "report": "INSERT INTO trial_intermediate_values VALUES (1, 1, 1, 1, 'FINITE')",
    "store": "INSERT INTO muster_blob_chunks VALUES ('x', 0, 'x')",
    "join": "UPDATE muster_workers SET device = 'x'",
}


def test_members_are_refused_whatever_their_role_does_not_need(
    engine: Engine, make_study: MakeStudy, join: Callable[..., Engine]
) -> None:
    study = make_study(name="refused")
    worker = join(invited(engine, "alice"))
    viewer = join(invited(engine, "bob", role="viewer"))
    assert run(viewer, "SELECT name FROM muster_datasets") == [("tiny",)]
    granted = []
    for who, statements in ((worker, REFUSED), (viewer, REFUSED | WRITES)):
        for what, sql in statements.items():
            try:
                run(who, sql)
            except MusterError:
                continue
            granted.append(what)
    assert granted == []
    with pytest.raises(NotAllowed, match="a viewer only reads"):
        run(viewer, WRITES["tell"])
    run_out(engine, take(engine, study, worker_id=98, lease_seconds=0.01))
    assert (trials.reap(viewer), trials.reap(worker)) == (0, 1)
    others = run(viewer, "SELECT DISTINCT user FROM information_schema.processlist")
    assert others == [(viewer.url.username,)]


def test_a_connection_without_tls_is_refused(engine: Engine, join: Callable[..., Engine]) -> None:
    for url in (join(invited(engine, "carol")).url, engine.url):
        plain = url.set(query={"ssl_disabled": "true"}).render_as_string(hide_password=False)
        with pytest.raises(MusterError, match="TLS"):
            run(connect(plain, patience_seconds=0.1), "SELECT 1")


def test_revoking_in_mid_trial_ends_her_worker_and_another_one_resumes(
    engine: Engine,
    make_study: MakeStudy,
    join: Callable[..., Engine],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = make_study(name="long", budget=2, epochs=4000)
    caplog.set_level("WARNING")
    guest = invited(engine, "dora", study="long")
    hers, stop, machine = join(guest), Event(), find_machine(device="cpu", threads=1)
    quick = settings.model_copy(update={"checkpoint_seconds": 0.2})
    with ThreadPoolExecutor(1) as pool:
        try:
            working = pool.submit(
                work, hers, study_name="long", machine=machine, settings=quick, stop=stop
            )
            stored = (
                "SELECT 1 FROM muster_trial_blobs JOIN muster_trials USING (trial_id)"
                f" WHERE name = 'checkpoint' AND study_id = {study.study_id}"
            )
            wait_until(lambda: bool(run(engine, stored)) or working.done())
            (presence,) = presence_of(engine, guest)
            assert (presence.state, presence.working, presence.running) == ("active", 1, 2)
            assert presence.addresses == ("127.0.0.1",)
            ended = revoke(engine, "dora")
            with pytest.raises(MembershipEnded, match="ask for a new invitation"):
                working.result(timeout=60)
        finally:
            stop.set()
    assert (ended.released, ended.sessions) == (2, ())
    assert [record.getMessage() for record in caplog.records] == []
    states = f"SELECT state, failures FROM muster_trials WHERE study_id = {study.study_id}"
    assert run(engine, states) == [("released", 0)] * 2
    resumed = take(engine, study, worker_id=99)
    assert (resumed.number, resumed.attempt) == (0, 2)
    assert trials.blob_names(engine, resumed.trial_id).keys() >= {"checkpoint"}
    (presence,) = presence_of(engine, guest)
    assert (presence.state, presence.working, presence.running) == ("revoked", 0, 0)
    with pytest.raises(AccessDenied):
        run(hers, "SELECT 1")
    with pytest.raises(UserError, match="no member 'dora'"):
        revoke(engine, "dora")


def test_a_session_that_outlives_its_account_ends_the_worker_likewise(
    engine: Engine, make_study: MakeStudy, join: Callable[..., Engine], settings: Settings
) -> None:
    study = make_study(name="outlived", budget=1, epochs=4000)
    guest = invited(engine, "olivia")
    hers, stop, machine = join(guest), Event(), find_machine(device="cpu", threads=1)
    with ThreadPoolExecutor(1) as pool:
        try:
            working = pool.submit(
                work, hers, study_name="outlived", machine=machine, settings=settings, stop=stop
            )
            held = f"SELECT 1 FROM muster_trials WHERE study_id = {study.study_id}"
            wait_until(lambda: bool(run(engine, held)) or working.done())
            # As where revoking may not end sessions.
            transact(engine, lambda connection: accounts.drop(connection, guest.member.account))
            with pytest.raises(MembershipEnded):
                working.result(timeout=60)
        finally:
            stop.set()


def test_a_viewer_who_tries_to_work_is_told_so(
    engine: Engine, make_study: MakeStudy, join: Callable[..., Engine], settings: Settings
) -> None:
    make_study(name="watched")
    hers, machine = join(invited(engine, "peggy", role="viewer")), find_machine(device="cpu")
    with pytest.raises(NotAllowed, match="a viewer only reads"):
        work(hers, study_name="watched", machine=machine, settings=settings, stop=Event())


def test_the_server_locks_an_account_whose_time_is_over(
    engine: Engine, join: Callable[..., Engine]
) -> None:
    guest = invited(engine, "eve", seconds=2.0)
    assert guest.is_ended_by_server
    assert guest.member.expires_at is not None
    hers = join(guest)
    assert 0 < members.seconds_left(hers, guest.member.expires_at) <= 3

    def is_locked() -> bool:
        hers.dispose()
        try:
            run(hers, "SELECT 1")
        except AccessDenied as error:
            return "membership has ended" in str(error)
        return False

    wait_until(is_locked)
    assert [each.state for each in presence_of(engine, guest)] == ["expired"]
    assert members.end_expired(engine) == ["eve"]
    assert members.end_expired(engine) == []
    again = invited(engine, "eve")
    assert [each.state for each in presence_of(engine, guest, again)] == ["revoked", "active"]


def test_a_name_is_taken_until_it_is_revoked(engine: Engine) -> None:
    invited(engine, "frank", seconds=3600.0)
    with pytest.raises(UserError, match="muster revoke frank"):
        invited(engine, "frank")
    revoke(engine, "frank")
    invited(engine, "frank")
    for name, role, said in (
        ("Frank!", "worker", "small letters"),
        ("leo", "boss", "role 'boss'"),
    ):
        with pytest.raises(UserError, match=said):
            invited(engine, name, role=role)


def test_inviting_needs_an_account_that_may(engine: Engine) -> None:
    url = engine.url.set(username="muster", password=PASSWORD)
    owner = connect(url.render_as_string(hide_password=False), patience_seconds=1.0)
    with pytest.raises(UserError, match=r"docs/team\.md"):
        invited(owner, "grace")
    names = [each.member.name for each in list_members(owner) if each.member is not None]
    assert "grace" not in names
    owner.dispose()


def test_a_server_that_cannot_be_trusted_is_told_with_the_mend(
    engine: Engine, join: Callable[..., Engine]
) -> None:
    guest = invited(engine, "heidi")
    with pytest.raises(UserError, match="not of the CA"):
        run(join(guest, pem=Authority().pem), "SELECT 1")
    elsewhere = engine.url.set(host="localhost").render_as_string(hide_password=False)
    with pytest.raises(UserError, match="names another host"):
        run(connect(elsewhere), "SELECT 1")
    unpinned = engine.url.set(host="localhost").update_query_dict({"ssl_check_hostname": "false"})
    assert run(connect(unpinned.render_as_string(hide_password=False)), "SELECT 1") == [(1,)]


def test_the_printed_token_is_all_that_a_member_needs(
    command: Callable[..., Result], make_study: MakeStudy, tmp_path: Path
) -> None:
    make_study(name="joined", budget=2)
    called = command(
        "invite", "ivan", "--study", "joined", "--expires", "8h", "--address", "127.0.0.1:1"
    )
    token = called.stdout.strip()
    assert tokens.read(token).host == "127.0.0.1"
    assert (tokens.read(token).port, tokens.read(token).study) == (1, "joined")
    command("revoke", "ivan")
    token = command("invite", "ivan", "--study", "joined", "--json").stdout
    token = json.loads(token)["token"]
    worked = command("worker", "--device", "cpu", "--threads", "1", join=token)
    assert "worker: done (2 complete)" in worked.stderr, worked.output
    (tmp_path / "token").write_text(f"{token}\n")
    by_file = command("status", "joined", "--json", "--join", str(tmp_path / "token"))
    by_stdin = command("status", "joined", "--json", "--join", "-", stdin=token)
    assert [json.loads(each.stdout)[0]["told"] for each in (by_file, by_stdin)] == [2, 2]
    shown = command("members", "--json")
    (ivan,) = [
        each
        for each in json.loads(shown.stdout)
        if each["state"] == "active" and each["member"]["name"] == "ivan"
    ]
    assert (ivan["addresses"], ivan["working"]) == (["127.0.0.1"], 0)
    assert "ivan" in command("members").stdout
    assert tokens.read(token).password.get_secret_value() not in shown.output + called.stderr


def test_an_invitation_that_ran_out_says_so_by_the_databases_clock(
    command: Callable[..., Result], engine: Engine, authority: Authority
) -> None:
    guest = invited(engine, "judy")
    past = {"expires_at": datetime(2020, 1, 1)}
    token = token_of(guest, engine, authority.pem).model_copy(update=past)
    ended = command("worker", join=tokens.write(token))
    assert isinstance(ended.exception, MembershipEnded)
    assert "by the database's clock" in str(ended.exception)
    revoke(engine, "judy")
    refused = command("worker", join=tokens.write(token))
    assert isinstance(refused.exception, AccessDenied)
    assert "muster invite judy" in str(refused.exception)
    assert guest.password not in str(refused.exception)


def test_a_worker_is_asked_to_stop_before_its_membership_ends(
    engine: Engine, authority: Authority
) -> None:
    end = transact(engine, now) + timedelta(seconds=PARTING_SECONDS + 1.0)
    guest = token_of(invited(engine, "niaj"), engine, authority.pem)
    token = tokens.write(guest.model_copy(update={"expires_at": end}))
    stop = Event()
    with (
        pytest.raises(MembershipEnded, match="for others to go on with"),
        membership(engine, Settings(join=token), stop),
    ):
        assert stop.wait(30.0)


def test_a_study_that_is_gone_and_one_that_never_was_are_told(
    command: Callable[..., Result], engine: Engine, make_study: MakeStudy
) -> None:
    study = make_study(name="gone")
    called = command("invite", "mallory", "--study", "nowhere")
    assert "there is no study 'nowhere'" in str(called.exception)
    token = command("invite", "mallory", "--study", "gone").stdout.strip()
    delete_study(engine, study)
    ended = command("worker", "--device", "cpu", join=token)
    assert "there is no study 'gone'" in str(ended.exception)


def test_a_server_whose_certificate_is_missing_does_not_start() -> None:
    with tempfile.TemporaryDirectory(prefix="muster-mariadb-") as name:
        options = ["--require-secure-transport=ON"]
        options += [f"--ssl-{kind}={name}/{kind}.pem" for kind in ("ca", "cert", "key")]
        with pytest.raises(RuntimeError, match="SSL"):
            Server(Path(name), options=options).install()
