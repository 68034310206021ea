"""What a line of the log is about, beside its words: the trial, its study, the worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_facts: ContextVar[Mapping[str, object]] = ContextVar("facts", default={})  # noqa: B039 - never changed


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Within the block, what this thread logs is about these, and those of the block around it."""
    token = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def current_facts() -> Mapping[str, object]:
    """What a line that is logged here and now is about."""
    return _facts.get()
