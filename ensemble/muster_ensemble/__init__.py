"""Floor 2: the best trials vote.

`load` is the one name for users' own programs: `muster_ensemble.load("bundle.zip")`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from muster_ensemble.predict import Predictor


def load(path: Path | str, *, device: torch.device | str | None = None) -> Predictor:
    """The bundle in that folder or .zip, checked and ready to predict as scikit-learn does.

    device: a GPU where there is one, unless named. Raises muster.errors.UserError, which names
    the file, for whatever is wrong with the bundle.
    """
    from muster_ensemble import predict  # noqa: PLC0415 - torch, which ledgers do without

    return predict.load(path, device=device)
