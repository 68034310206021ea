from __future__ import annotations

import pytest
from sqlalchemy import Engine

from muster.errors import UserError
from muster_db import datasets
from muster_db.joining import check_dataset, check_version
from samples import make_dataset, make_study


def test_another_version_than_the_contracts_is_refused_with_both_and_the_mend(
    engine: Engine,
) -> None:
    study = make_study(engine, code_version="0.3.0")
    check_version(study, code_version="0.3.0")
    with pytest.raises(UserError, match=r"muster 0\.3\.0.*muster 0\.4\.0.*install muster 0\.3\.0"):
        check_version(study, code_version="0.4.0")


def test_study_whose_dataset_is_gone_is_refused_by_name_and_fingerprint(engine: Engine) -> None:
    gone = make_study(engine, name="gone")
    with pytest.raises(UserError, match=f"'gone'.*'sample'.*{'f' * 64}.*muster data add"):
        check_dataset(engine, gone)
    fingerprint = datasets.store(engine, make_dataset())
    check_dataset(engine, make_study(engine, name="whole", dataset_fingerprint=fingerprint))
