"""Options of a registry's entries, checked against the signatures that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from muster.spelling import known_names


def option_problems(
    taker: Callable[..., Any], options: Mapping[str, Any], *, not_options: frozenset[str]
) -> list[str]:
    """What is wrong with options for the keyword arguments of taker: one line a problem.

    not_options: arguments that are not the user's to set. Types and bounds come from the
    annotations, e.g. Annotated[int, Field(ge=1)].
    """
    target = taker.__init__ if inspect.isclass(taker) else taker
    hints = get_type_hints(target, include_extras=True)
    known = [
        name
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in not_options
    ]
    problems = []
    for name, value in options.items():
        if name not in known:
            problems.append(f"{name}: unknown option; {known_names(name, known)}")
            continue
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hints[name], config=ConfigDict(strict=True))
            adapter.validate_python(value)
        except ValidationError as error:
            problems += [f"{name} = {value!r}: {each['msg']}" for each in error.errors()]
    return problems
