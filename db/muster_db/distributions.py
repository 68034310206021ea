"""Optuna's distributions as text."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from pydantic import PlainSerializer, PlainValidator


@lru_cache(maxsize=4096)
def parse_distribution(text: str) -> BaseDistribution:
    """A distribution out of Optuna's JSON; shared, so never change it. Raises ValueError."""
    try:
        return json_to_distribution(text)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{text[:80]!r} is no distribution") from error


# A distribution that crosses to a proxy, and back.
Distribution = Annotated[
    BaseDistribution, PlainValidator(parse_distribution), PlainSerializer(distribution_to_json)
]
