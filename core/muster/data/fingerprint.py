"""What tells datasets apart: a SHA-256 over their canonical content."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from muster.data.dataset import Dataset

# Where the data once lay does not change what is learnt from it.
WHEREABOUTS = frozenset({"source", "train", "test"})


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) of everything a study sees of the dataset: the same on every machine.

    Numbers count as little-endian 32-bit floats and 64-bit integers, every NaN as one and
    the same; the schema as JSON with sorted keys, without the paths the data was read from.
    """
    schema = dataset.schema.model_dump(mode="json")
    description = schema["description"]
    schema["description"] = {
        key: value for key, value in description.items() if key not in WHEREABOUTS
    }
    digest = hashlib.sha256()
    head = {
        "format": "muster dataset 1",
        "name": dataset.name,
        "schema": schema,
        "identifiers": list(dataset.identifiers),
    }
    _add(digest, json.dumps(head, sort_keys=True, ensure_ascii=True).encode())
    for numbers in (dataset.values, dataset.static):
        canonical = np.where(np.isnan(numbers), np.float32(np.nan), numbers).astype("<f4")
        _add(digest, str(canonical.shape).encode())
        _add(digest, canonical.tobytes())
    groups = dataset.groups if dataset.groups is not None else np.empty(0)
    for integers in (dataset.offsets, dataset.labels, groups, dataset.is_test):
        _add(digest, integers.astype("<i8").tobytes())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, content: bytes) -> None:
    digest.update(len(content).to_bytes(8, "little"))
    digest.update(content)
