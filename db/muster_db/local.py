"""An Optuna storage in memory that the mirror fills and samplers read."""

from __future__ import annotations

from optuna.storages import InMemoryStorage
from optuna.storages._in_memory import _StudyInfo
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

NAME = "mirror"
STUDY_ID = 0


class LocalStorage(InMemoryStorage):
    """Holds the trials of one study by their numbers; a trial's local id is its number.

    InMemoryStorage can neither replace a trial nor drop one, so this reaches into its fields
    (Optuna is pinned to one major version).
    """

    def __init__(self, direction: str) -> None:
        super().__init__()
        # create_new_study would say so on stderr.
        self._studies[STUDY_ID] = _StudyInfo(NAME, [StudyDirection[direction.upper()]])
        self._study_name_to_id[NAME] = STUDY_ID
        self._prev_waiting_trial_number[STUDY_ID] = 0
        self._max_study_id = STUDY_ID

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials by number; not a copy."""
        return self._studies[STUDY_ID].trials

    def put(self, trial: FrozenTrial) -> None:
        """Add a trial, or replace the one of its number. Numbers come without gaps."""
        if trial.number < len(self.trials):
            self.trials[trial.number] = trial
            return
        if trial.number != len(self.trials):
            raise IndexError(f"trial {trial.number} comes before trial {len(self.trials)}")
        self.trials.append(trial)
        self._trial_id_to_study_id_and_number[trial.number] = (STUDY_ID, trial.number)
        self._max_trial_id = trial.number

    def drop_last(self) -> None:
        """Forget the newest trial, which was only drawn."""
        last = self.trials.pop()
        del self._trial_id_to_study_id_and_number[last.number]
        self._max_trial_id = last.number - 1
