"""The proxy: one gRPC server beside the database, for muster's workers and Optuna's tools."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from optuna.storages import RDBStorage, get_storage
from sqlalchemy import Engine

from muster.errors import MusterError, UserError
from muster_db import engine as engines
from muster_db import schema
from muster_db.proxy.address import check_token, grpc, is_loopback
from muster_db.proxy.client import PLAIN, SECURE, SERVICE
from muster_db.proxy.messages import codec_of, write_error
from muster_db.proxy.verbs import by_name
from muster_db.urls import bracketed

log = logging.getLogger(__name__)

# Shorter than a worker waits for its answer: it hears why, and then waits in its own way.
PATIENCE_SECONDS: Final = 4.0
STOP_SECONDS: Final = 5.0
# Of Optuna's own service, beside those of muster's verbs.
OPTUNA_CONNECTIONS: Final = 2
# A row of a blob has half a MiB; a trial's last reports and attributes come next.
CALL_BYTES: Final = 4 * 1024 * 1024
OPTIONS: Final = (
    ("grpc.max_receive_message_length", CALL_BYTES),
    # Two proxies on one port would take turns, and the second one is a mistake.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True)
class Door:
    """Where a proxy listens and who may come in; port 0 for any that is free.

    certificate, key: PEM, both or none. Raises UserError where a network could listen or come in.
    """

    host: str
    port: int
    token: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise UserError("a certificate needs its key, and a key its certificate; name both")
        if self.token is not None:
            check_token(self.token, place="the proxy's token")
        if not is_loopback(self.host) and (self.token is None or self.certificate is None):
            raise UserError(
                f"{self.host} can be reached from other machines: there the proxy needs "
                "--token-file, and --certificate with --key; without them listen on 127.0.0.1"
            )

    @property
    def address(self) -> str:
        """Host and port, as gRPC writes them."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def scheme(self) -> str:
        """How the URLs of workers begin."""
        return PLAIN if self.certificate is None else SECURE


@contextmanager
def serving(url: str, door: Door, *, connections: int) -> Iterator[int]:
    """Serve within the with-block, which gets the port; calls that run then end first.

    connections: to the database, for muster's verbs; Optuna's service has OPTUNA_CONNECTIONS
    more. Raises UserError where nothing can listen, and for a database without its tables.
    """
    with ExitStack() as at_end:
        engine = engines.connect(url, patience_seconds=PATIENCE_SECONDS, connections=connections)
        at_end.callback(engine.dispose)
        schema.check(engine)
        storage = RDBStorage(
            url,
            engine_kwargs={"pool_size": OPTUNA_CONNECTIONS, "max_overflow": 0},
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
        at_end.callback(storage.engine.dispose)
        at_end.callback(storage.remove_session)
        threads = at_end.enter_context(ThreadPoolExecutor(connections + OPTUNA_CONNECTIONS))
        server = grpc().server(threads, interceptors=_guards(door), options=OPTIONS)
        at_end.callback(lambda: server.stop(STOP_SECONDS).wait())
        server.add_generic_rpc_handlers((_handlers(engine),))
        _add_optuna(server, storage)
        port = _listen(server, door)
        server.start()
        yield port


def _handlers(engine: Engine) -> Any:
    handlers = {
        name: grpc().unary_unary_rpc_method_handler(partial(answer, engine, verb))
        for name, verb in by_name().items()
    }
    return grpc().method_handlers_generic_handler(SERVICE, handlers)


def answer(engine: Engine, verb: Callable[..., Any], message: bytes, context: Any) -> bytes:
    """Run a verb as a message asks, and say how it ended; context: gRPC's own of the call."""
    if not context.is_active():
        # Its worker asks again by now, and must not be served twice.
        return b""
    codec = codec_of(verb)
    try:
        return codec.write_answer(verb(engine, **codec.read_call(message)))
    except MusterError as error:
        log.debug("%s: %s", verb.__name__, error)
        return write_error(error)


def _add_optuna(server: Any, storage: RDBStorage) -> None:
    # Optuna's run_grpc_proxy_server has a server of its own, without TLS and without an end.
    from optuna.storages._grpc.auto_generated import api_pb2_grpc  # noqa: PLC0415 - an extra
    from optuna.storages._grpc.servicer import OptunaStorageProxyService  # noqa: PLC0415

    service = OptunaStorageProxyService(get_storage(storage))
    add: Any = api_pb2_grpc.add_StorageServiceServicer_to_server
    add(service, server)


def _listen(server: Any, door: Door) -> int:
    try:
        if door.certificate is None or door.key is None:
            port = server.add_insecure_port(door.address)
        else:
            identity = grpc().ssl_server_credentials([(door.key, door.certificate)])
            port = server.add_secure_port(door.address, identity)
    except RuntimeError as error:
        raise UserError(f"cannot listen on {door.address}; name another with --listen") from error
    return int(port)


def _guards(door: Door) -> list[Any]:
    return [] if door.token is None else [_guard(door.token)]


def _guard(token: str) -> Any:
    """Refuses every call without the token, of Optuna's service too."""
    wanted = f"Bearer {token}"

    def refuse(request: Any, context: Any) -> None:
        context.abort(grpc().StatusCode.UNAUTHENTICATED, "the token is missing or another")

    refusal = grpc().unary_unary_rpc_method_handler(refuse)

    class Guard(grpc().ServerInterceptor):  # type: ignore[misc]  # gRPC ships no types
        def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
            given = dict(details.invocation_metadata).get("authorization", "")
            if hmac.compare_digest(str(given).encode(), wanted.encode()):
                return continuation(details)
            return refusal

    return Guard()
