"""One call: bytes in, an answer's bytes out, and every failure a status.

Rules:
1. Messages are read here, not by gRPC, which would answer a damaged one with INTERNAL.
2. Whatever a client sends ends in a status that is not INTERNAL; that one is our bug and is
   logged with its traceback, never sent.
"""

import logging
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from appliance.api.rpc.descriptors import Package, Proto
from appliance.api.rpc.statuses import BUG, Status, status_of
from appliance.errors import ApplianceError, BadRequest, Internal
from wasi_nn.executor import Cancellation

log = logging.getLogger(__name__)

Context = grpc.ServicerContext
# Quoted: only the stubs know its parameters.
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Answer = Callable[[Proto, Context], Proto]
# Longer than any client waits; gRPC says "no deadline" by one of centuries.
_NO_DEADLINE_S = 24 * 3600.0


def unary(package: Package, name: str, answer: Answer) -> Handler:
    """Make the handler of a method whose request is of this name."""

    def handle(sent: bytes, context: Context) -> bytes:
        try:
            response = answer(read(package, name, sent), context).SerializeToString()
        except Exception as exc:
            status = failure(exc, name)
        else:
            # The stubs know no message classes made at run time: Any.
            assert isinstance(response, bytes), "protobuf serialises to bytes"
            return response
        fail(context, status)

    return grpc.unary_unary_rpc_method_handler(handle)


def unimplemented(sentence: str) -> Handler:
    """Make the handler of a method that this box does not have."""

    def handle(_sent: bytes, context: Context) -> bytes:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence)

    return grpc.unary_unary_rpc_method_handler(handle)


def read(package: Package, name: str, sent: bytes) -> Proto:
    """Read a message.

    Raises: BadRequest if the bytes are none of this name.
    """
    try:
        return package[name].FromString(sent)
    except DecodeError as exc:
        raise BadRequest(f"message: {len(sent)} bytes that are no {name}") from exc


def failure(error: Exception, name: str) -> Status:
    """Say a failure, and log it if it is our bug. Called where the exception is handled."""
    known = error if isinstance(error, ApplianceError) else Internal(BUG)
    status = status_of(known)
    if status.code is grpc.StatusCode.INTERNAL:
        log.error("call failed message=%s", name, exc_info=error)
    return status


def fail(context: Context, status: Status) -> NoReturn:
    """End a call by a status; raises what gRPC takes for its end."""
    context.set_trailing_metadata(status.trailing)
    context.abort(status.code, status.sentence)


def cancelled_with(context: Context) -> Cancellation:
    """Give what tells that the client has gone or its deadline has passed."""
    cancellation = Cancellation()
    if not context.add_callback(cancellation.cancel):
        cancellation.cancel()
    return cancellation


def remaining_us(context: Context) -> int:
    """Give the microseconds until the client's deadline, at least 1, or 0 if it has none."""
    remaining_s = context.time_remaining()
    if remaining_s is None or remaining_s > _NO_DEADLINE_S:
        return 0
    return max(1, int(remaining_s * 1e6))
