"""The studies as an Optuna storage that is only read, out of what all readers share."""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Sequence
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from muster_dashboard import artifacts
from muster_dashboard.board import ANY, Board, StudySight
from muster_db.watching import SeenTrial, StudyHead


class ShownStorage(BaseStorage):
    """What optuna-dashboard reads; every writing method raises, whatever route leads to it.

    A trial has the files of artifacts.py beside those that are stored.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._frozen: dict[int, tuple[SeenTrial, FrozenTrial]] = {}

    def get_all_studies(self) -> list[FrozenStudy]:
        sight = self._board.look(ANY)
        return [
            self._freeze_study(head, sight.studies.get(head.name))
            for head in sorted(sight.heads, key=lambda head: head.study_id)
            if head.study_id in sight.contracts
        ]

    def get_study_id_from_name(self, study_name: str) -> int:
        for head in self._board.look().heads:
            if head.name == study_name:
                return head.study_id
        raise KeyError(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._head(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [self._direction(study_id)]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return _read(self.sight(study_id).attributes)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return _read(self.sight(study_id).facts)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        sight = self.sight(study_id)
        found = [self._freeze(trial, sight) for trial in sight.trials]
        found = [trial for trial in found if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        for sight in self._board.look().studies.values():
            for trial in sight.trials:
                if trial.trial_id == trial_id:
                    return self._freeze(trial, sight)
        raise KeyError(trial_id)

    def sight(self, study_id: int) -> StudySight:
        """The study in full; raises KeyError where there is none."""
        head = self._head(study_id)
        return self._board.look(head.name).studies[head.name]

    def forget(self) -> None:
        """Look anew: somebody has written something."""
        self._board.forget()

    def _head(self, study_id: int) -> StudyHead:
        for head in self._board.look().heads:
            if head.study_id == study_id:
                return head
        raise KeyError(study_id)

    def _direction(self, study_id: int) -> StudyDirection:
        study = self._board.look().contracts.get(study_id)
        if study is None:
            raise KeyError(study_id)
        return StudyDirection[study.contract.direction.upper()]

    def _freeze_study(self, head: StudyHead, sight: StudySight | None) -> FrozenStudy:
        return FrozenStudy(
            study_name=head.name,
            direction=self._direction(head.study_id),
            user_attrs={} if sight is None else _read(sight.attributes),
            system_attrs={} if sight is None else _read(sight.facts),
            study_id=head.study_id,
        )

    def _freeze(self, trial: SeenTrial, sight: StudySight) -> FrozenTrial:
        known = self._frozen.get(trial.trial_id)
        if known is not None and known[0] is trial:
            return known[1]
        distributions = {name: sight.distributions[name] for name, _ in trial.params}
        frozen = FrozenTrial(
            number=trial.number,
            state=trial.shown,
            value=trial.value if trial.shown == TrialState.COMPLETE else None,
            datetime_start=trial.started,
            datetime_complete=trial.ended,
            params={
                name: distributions[name].to_external_repr(number) for name, number in trial.params
            },
            distributions=distributions,
            user_attrs=_read(trial.attributes),
            system_attrs=_read({**trial.facts, **_quoted(artifacts.facts_of(trial))}),
            intermediate_values=dict(trial.reports),
            trial_id=trial.trial_id,
        )
        self._frozen[trial.trial_id] = (trial, frozen)
        return frozen

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        _refuse()

    def delete_study(self, study_id: int) -> None:
        _refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        _refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        _refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        _refuse()

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        _refuse()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        _refuse()

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        _refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        _refuse()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        _refuse()


def _refuse() -> NoReturn:
    raise UpdateFinishedTrialError("the dashboard only shows")


def _read(texts: Any) -> dict[str, Any]:
    return {key: json.loads(text) for key, text in texts.items()}


def _quoted(facts: dict[str, str]) -> dict[str, str]:
    """Optuna keeps an artifact's facts as JSON in a string, and that as JSON again."""
    return {key: json.dumps(text) for key, text in facts.items()}
