"""What crosses between a worker and a proxy: JSON of checked types, and bytes as they are.

A message is the length of its JSON (4 bytes, the highest first), the JSON, and at most one value
of bytes; an answer begins with a sign of whether the verb returned or raised. How arguments and
answer read follows from the verb's signature, strictly: an unknown field, or one of another type,
is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from muster.errors import DiskFull, LeaseLost, MusterError, Unavailable, UserError

LENGTH: Final = struct.Struct(">I")
RETURNED: Final = b"+"
RAISED: Final = b"-"
STRICT: Final = ConfigDict(
    extra="forbid",
    strict=True,
    arbitrary_types_allowed=True,
    # A report may be no number, or infinite, which JSON itself has no word for.
    ser_json_inf_nan="constants",
)
# Whatever else a verb raises crosses as the nearest of these.
ERRORS: Final = {
    kind.__name__: kind for kind in (MusterError, UserError, Unavailable, DiskFull, LeaseLost)
}
AGAIN: Final = "again"
PROBLEMS_SHOWN: Final = 3


class Refusal(BaseModel):
    """An error that a verb raised."""

    model_config = STRICT

    error: str
    message: str


@dataclass(frozen=True)
class Codec:
    """How a verb's arguments and answer become bytes.

    arguments, answer: what crosses as JSON. tail: the argument that crosses as bytes, if any; an
    answer of bytes has no JSON.
    """

    signature: Signature
    arguments: type[BaseModel]
    answer: type[BaseModel]
    tail: str | None

    def write_call(self, args: Sequence[Any], named: Mapping[str, Any], *, again: bool) -> bytes:
        """The arguments of a call but the engine.

        again: an earlier try may have taken effect, which those verbs are told that ask for it.
        """
        if again and AGAIN in self.signature.parameters:
            named = {**named, AGAIN: True}
        given = dict(self.signature.bind(*args, **named).arguments)
        tail = b"" if self.tail is None else given.pop(self.tail)
        return _join(self.arguments.model_construct(**given), tail)

    def read_call(self, message: bytes) -> dict[str, Any]:
        """The arguments by name. Raises UserError for what write_call did not write."""
        read, tail = _split(self.arguments, message)
        given = {name: getattr(read, name) for name in self.arguments.model_fields}
        if self.tail is not None:
            given[self.tail] = tail
        elif tail:
            raise UserError("a message to the proxy has more bytes than its verb takes")
        return given

    def write_answer(self, answer: Any) -> bytes:
        """What the verb returned."""
        if not self.answer.model_fields:
            return RETURNED + _join(self.answer(), answer)
        return RETURNED + _join(self.answer.model_construct(value=answer), b"")

    def read_answer(self, message: bytes) -> Any:
        """What the verb returned; raises what it raised, UserError for what is no answer."""
        if message[:1] == RAISED:
            refusal: Any = _split(Refusal, message[1:])[0]
            raise ERRORS.get(refusal.error, MusterError)(refusal.message)
        read: Any
        read, tail = _split(self.answer, message[1:])
        return read.value if self.answer.model_fields else tail


def write_error(error: MusterError) -> bytes:
    """An error in the place of an answer."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS)
    return RAISED + _join(Refusal(error=name, message=str(error)), b"")


@cache
def codec_of(verb: Callable[..., Any]) -> Codec:
    """How calls of a verb cross, whose first parameter is the engine."""
    hints = get_type_hints(verb, include_extras=True)
    _, *parameters = signature(verb).parameters.values()
    tails = [each.name for each in parameters if hints[each.name] is bytes]
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is Parameter.empty else each.default)
        for each in parameters
        if each.name not in tails
    }
    returned = hints["return"]
    answer: dict[str, Any] = {} if returned is bytes else {"value": (returned, ...)}
    return Codec(
        signature=Signature(parameters),
        arguments=create_model(verb.__name__, __config__=STRICT, **fields),
        answer=create_model(f"answer of {verb.__name__}", __config__=STRICT, **answer),
        tail=next(iter(tails), None),
    )


def _join(content: BaseModel, tail: bytes) -> bytes:
    # Types are checked by whoever reads it.
    text = content.model_dump_json(warnings="none").encode()
    return LENGTH.pack(len(text)) + text + tail


def _split(kind: type[BaseModel], message: bytes) -> tuple[BaseModel, bytes]:
    if len(message) < LENGTH.size:
        raise UserError("a message between worker and proxy is cut off")
    start = LENGTH.size
    (length,) = LENGTH.unpack_from(message)
    if len(message) < start + length:
        raise UserError("a message between worker and proxy is cut off")
    try:
        return kind.model_validate_json(message[start : start + length]), message[start + length :]
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in each['loc']) or 'JSON'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)[:PROBLEMS_SHOWN]
        ]
        raise UserError(
            "worker and proxy do not understand each other; install the same version of muster "
            f"on both ({kind.__name__}: {'; '.join(problems)})"
        ) from error
