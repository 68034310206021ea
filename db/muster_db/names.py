"""Names of a trial's blobs that the store itself goes by."""

from __future__ import annotations

from typing import Final

# Names of blobs that only a trial that runs needs begin so.
CHECKPOINT: Final = "checkpoint"
# Names of fold models begin so.
FOLD: Final = "fold"
