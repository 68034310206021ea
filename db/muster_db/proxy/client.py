"""A worker's end of the proxy: verbs that run there instead of here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from muster.errors import MusterError, Unavailable, UserError
from muster_db import urls
from muster_db.engine import PROXIES
from muster_db.proxy.address import PORT, check_token, grpc, is_loopback
from muster_db.proxy.messages import codec_of

log = logging.getLogger(__name__)

SERVICE: Final = "muster.Verbs"
PLAIN, SECURE = PROXIES
SUPPORTED: Final = "grpc://localhost:13000 or grpcs://:token@host:13000?ca=FILE"
# Longer than the proxy itself tries, so that its own words arrive.
ANSWER_SECONDS: Final = 30.0
# A worker that joins 100,000 trials reads them in one answer.
ANSWER_BYTES: Final = 256 * 1024 * 1024
OPTIONS: Final = (
    ("grpc.max_receive_message_length", ANSWER_BYTES),
    # gRPC's own waits grow to two minutes; how often to try is decided here.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A half-open connection is noticed although nobody closed it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
PASSING: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED")
FAULTS: Final = {
    "UNAUTHENTICATED": "the proxy knows another token; put its own into the URL "
    "(grpcs://:TOKEN@host) or into MUSTER_DB_PASSWORD_FILE",
    "UNIMPLEMENTED": "what answers there is no muster proxy, or one of another version; install "
    "the same version of muster on both",
    "RESOURCE_EXHAUSTED": "a message is larger than the proxy takes",
}


def is_remote(url: str) -> bool:
    """Whether a URL names a proxy."""
    return url.partition("://")[0] in PROXIES


class Remote:
    """A proxy in the place of an engine; nothing is connected yet. Threads may share it.

    patience_seconds: how long a verb is tried before it raises Unavailable. Raises UserError for
    a URL that cannot be, and where a token, or the search itself, would cross a network in the
    open.
    """

    def __init__(self, url: str, *, patience_seconds: float = 30.0) -> None:
        parsed = urls.parse(url)
        self.place = urls.show(parsed)
        self.patience_seconds = patience_seconds
        self._metadata = _metadata(parsed)
        self._channel = _open(parsed)

    def call(self, verb: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Run a verb at the proxy; again, with jitter, where its answer is lost.

        Raises what the verb raises, Unavailable when the patience ends, UserError when the fault
        is the user's to mend.
        """
        codec, tries = codec_of(verb), count()
        send = self._channel.unary_unary(f"/{SERVICE}/{name_of(verb)}")
        retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            wait=wait_random_exponential(multiplier=0.05, max=2.0),
            stop=stop_after_delay(self.patience_seconds),
            before_sleep=_tell_retry,
            reraise=True,
        )

        def once() -> bytes:
            message = codec.write_call(args, named, again=next(tries) > 0)
            answer: bytes = send(message, timeout=ANSWER_SECONDS, metadata=self._metadata)
            return answer

        try:
            answer = retrying(once)
        except grpc().RpcError as error:
            raise _explain(error, self.place) from error
        return codec.read_answer(answer)

    def dispose(self) -> None:
        """Close the connection."""
        self._channel.close()


def name_of(verb: Callable[..., Any]) -> str:
    """What a verb is called between worker and proxy: trials.tell, say."""
    return f"{verb.__module__.rpartition('.')[2]}.{verb.__name__}"


def _metadata(url: URL) -> tuple[tuple[str, str], ...]:
    if url.password is None:
        return ()
    return (("authorization", f"Bearer {check_token(url.password, place=urls.show(url))}"),)


def _open(url: URL) -> Any:
    place = urls.show(url)
    if url.drivername not in PROXIES or not url.host or url.database:
        raise UserError(f"{place}: a proxy's URL is written like {SUPPORTED}")
    unknown = sorted(set(url.query) - {"ca"})
    if unknown or (url.drivername == PLAIN and url.query):
        raise UserError(f"{place}: {', '.join(unknown) or 'ca'} means nothing here; {SUPPORTED}")
    target = f"{urls.bracketed(url.host)}:{url.port or PORT}"
    options = list(OPTIONS)
    if is_loopback(url.host):
        # A web proxy of the environment is not for this machine's own ports.
        options.append(("grpc.enable_http_proxy", 0))
    if url.drivername == SECURE:
        return grpc().secure_channel(target, _credentials(url.query.get("ca")), options)
    if not is_loopback(url.host):
        raise UserError(
            f"{place}: token and trials would cross the network in the open; write grpcs:// and "
            "give the proxy a certificate, or reach it through a tunnel to this machine's own port"
        )
    return grpc().insecure_channel(target, options)


def _credentials(authority: str | tuple[str, ...] | None) -> Any:
    if authority is None:
        return grpc().ssl_channel_credentials()
    try:
        content = Path(str(authority)).read_bytes()
    except OSError as error:
        raise UserError(f"ca={authority}: {error.strerror}; name the PEM file") from error
    return grpc().ssl_channel_credentials(content)


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, grpc().RpcError) and _code(error) in PASSING


def _code(error: BaseException) -> str:
    code: Any = getattr(error, "code", None)
    return str(code().name) if code is not None else "UNKNOWN"


def _details(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    return str(details()) if details is not None else type(error).__name__


def _explain(error: BaseException, place: str) -> MusterError:
    """A failed call in one line that says what, where and how to mend it."""
    code, details = _code(error), _details(error)
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return UserError(
            f"{place}: its certificate is not trusted here, or for another host; name the "
            "authority that signed it with ?ca=FILE"
        )
    if code in PASSING:
        return Unavailable(
            f"{place}: the proxy does not answer ({details}); check that `muster proxy` runs "
            "there and that host and port are right"
        )
    if code in FAULTS:
        return UserError(f"{place}: {FAULTS[code]} ({details})")
    return MusterError(f"{place}: the proxy failed; its own log says why ({details})")


def _tell_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    # What matters comes as Unavailable: the caller says it once.
    log.debug("the proxy gave no answer (try %d): %s", state.attempt_number, error)
