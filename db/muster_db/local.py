"""An Optuna storage in memory for one trial that is being drawn, beside the trials there are."""

from __future__ import annotations

from collections.abc import Container

from optuna.storages import InMemoryStorage
from optuna.storages._in_memory import _StudyInfo
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from muster_db.history import History

NAME = "mirror"
STUDY_ID = 0


class LocalStorage(InMemoryStorage):
    """The trials of history, and the newest one, which a sampler draws; ids are numbers.

    InMemoryStorage keeps an object a trial, so this reaches into its fields to keep one alone
    (Optuna is pinned to one major version).
    """

    def __init__(self, direction: str, history: History) -> None:
        super().__init__()
        # create_new_study would say so on stderr.
        self._studies[STUDY_ID] = _StudyInfo(NAME, [StudyDirection[direction.upper()]])
        self._study_name_to_id[NAME] = STUDY_ID
        self._history = history
        self._drawn: FrozenTrial | None = None

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin to draw the next trial; whatever was drawn before is forgotten."""
        number = len(self._history)
        self._trial_id_to_study_id_and_number = {number: (study_id, number)}
        self._drawn = self._create_running_trial()
        self._drawn.number = self._drawn._trial_id = number
        return number

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Fresh objects, for the samplers that want them; the quick ones read the columns."""
        trials = self._history.freeze() + ([] if self._drawn is None else [self._drawn])
        return [trial for trial in trials if states is None or trial.state in states]

    def _get_trial(self, trial_id: int) -> FrozenTrial:
        if self._drawn is None or self._drawn.number != trial_id:
            raise KeyError(trial_id)
        return self._drawn

    def _set_trial(self, trial_id: int, trial: FrozenTrial) -> None:
        self._drawn = trial
