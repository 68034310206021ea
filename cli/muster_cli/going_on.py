"""muster run on a study that is there already: is it the same search, and what changes?"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from sqlalchemy import Engine

from muster.errors import UserError
from muster_cli.console import progress
from muster_cli.contract import differences, limits_in_words
from muster_db import study as studies
from muster_db import tokens
from muster_db.budget import change_limits, raise_budget
from muster_db.contract import Contract
from muster_db.limits import NO_LIMITS, Limits
from muster_db.study import Study

PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")


def find(engine: Engine, name: str, contract: Contract, *, db_option: str) -> Study | None:
    """The study of that name, if there is one; UserError where its contract is another.

    db_option: what a command needs to find this database.
    """
    known = studies.list_studies(engine, name)
    if not known:
        return None
    # What a study was begun with stays, whatever has become of the study that it came from.
    contract = contract.model_copy(update={"warm_start": known[0].contract.warm_start})
    differing = differences(known[0].contract, contract)
    if differing:
        delete = " ".join(["muster study delete", shlex.quote(name), db_option]).strip()
        raise UserError(
            f"study {name!r} is there already and is another search:\n  "
            + "\n  ".join(differing)
            + f"\nsearch under another name with --name OTHER, or delete that study: {delete}"
        )
    return known[0]


def go_on(engine: Engine, study: Study, *, trials: int | None, limits: Limits) -> Study:
    """Let workers claim again, say what these options change, and return the study as it is now.

    More trials than were ever asked for extend the budget under the limits of this call; another
    limit takes effect; a study that a limit has ended stays ended where neither is asked for.
    """
    asked = study.asked or study.budget
    is_patient = (limits.patience, limits.patience_on) != (
        study.limits.patience,
        study.limits.patience_on,
    )
    changed = Limits(
        limits.seconds if limits.seconds != study.limits.seconds else None,
        *((limits.patience, limits.patience_on) if is_patient else ()),
    )
    progress.print(f"study {study.name} exists already: going on with it")
    if trials is not None and trials > asked:
        raise_budget(engine, study, to=trials, limits=limits)
        progress.print(f"budget {asked} -> {trials} trials{_new_limits(study.limits, limits)}")
    elif changed != NO_LIMITS:
        change_limits(engine, study, changed)
        progress.print(f"from now on {limits_in_words(changed)}")
    if trials is not None and trials < asked:
        progress.print(f"--trials {trials} is fewer than the {asked} asked for before, which stay")
    studies.resume_study(engine, study)
    return studies.open_study(engine, study.name)


def say_if_cut(study: Study) -> None:
    """Say where a limit has ended the study, and how to search on."""
    if study.is_cut:
        progress.print(
            f"study {study.name}: its {limits_in_words(study.limits)} has ended it after "
            f"{study.budget} of {study.asked} trials; more --trials, or another --patience or "
            "--time-limit, go on"
        )


def this_command() -> str:
    """The command line that is running, fit to be typed again; without a password."""
    program = sys.argv[0]
    is_at_hand = Path(program).name != "muster" or shutil.which("muster") is not None
    words = ["muster" if is_at_hand else program, *map(without_password, sys.argv[1:])]
    return shlex.join(words)


def without_password(line: str) -> str:
    """The line with *** in place of the password of a URL, and of a join token, in it."""
    return tokens.hide(PASSWORD.sub(r"\1***@", line))


def _new_limits(old: Limits, new: Limits) -> str:
    if new != NO_LIMITS:
        return f", from now on {limits_in_words(new)}"
    return f"; {limits_in_words(old)} no longer holds" if old != NO_LIMITS else ""
