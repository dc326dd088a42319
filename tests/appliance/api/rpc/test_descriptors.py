"""The schema's messages: the same on the wire as the official ones, and no trouble beside them."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tritonclient.grpc import service_pb2

from appliance.api.rpc.descriptors import INFERENCE, Package
from appliance.api.rpc.schema import MESSAGES

_OURS = "from appliance.api.rpc.descriptors import INFERENCE"
_THEIRS = "import tritonclient.grpc"
_READ = """
sent = tritonclient.grpc.service_pb2.ModelReadyRequest(name="m").SerializeToString()
print(INFERENCE["ModelReadyRequest"].FromString(sent).name)
"""
# OIP has it and Triton's own definition does not.
_OIP_ONLY = {"ModelMetadataResponse.properties"}


def _shape_of(field: FieldDescriptor) -> tuple[str, int, bool, str]:
    choice = field.containing_oneof
    return field.name, field.type, field.is_repeated, "" if choice is None else choice.name


def _fields(
    ours: Descriptor, theirs: Descriptor, seen: set[str]
) -> Iterator[tuple[str, object, object]]:
    """Pair every field of a message, and of the messages in it, with the official one."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        name = f"{ours.name}.{field.name}"
        if name in _OIP_ONLY:
            continue
        official = theirs.fields_by_number[field.number]
        yield name, _shape_of(field), _shape_of(official)
        if field.message_type is not None:
            yield from _fields(field.message_type, official.message_type, seen)


def test_every_field_is_the_official_one() -> None:
    """Name, number, type and choice, down from every request and response."""
    seen: set[str] = set()
    pairs = [
        pair
        for name in MESSAGES
        if name.endswith(("Request", "Response"))
        for pair in _fields(
            INFERENCE[name].DESCRIPTOR, getattr(service_pb2, name).DESCRIPTOR, seen
        )
    ]  # fmt: skip

    # The choice of how a model is scheduled has one member here, which is no choice.
    assert {"ModelConfig.dynamic_batching"} == {name for name, ours, his in pairs if ours != his}
    assert {f"inference.{name}" for name in MESSAGES} <= seen


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(_OURS, _THEIRS, id="ours first"),
        pytest.param(_THEIRS, _OURS, id="the official client first"),
    ],
)
def test_the_official_client_lives_in_the_same_process(first: str, second: str) -> None:
    """Neither import disturbs the other, and they read each other's bytes."""
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{second}\n{_READ}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert (0, "m\n") == (done.returncode, done.stdout), done.stderr


def test_a_choice_has_one_value() -> None:
    """Setting another alternative forgets the first."""
    parameter = INFERENCE["InferParameter"](bool_param=True)
    parameter.string_param = "x"

    assert "string_param" == parameter.WhichOneof("parameter_choice")


def test_a_schema_with_a_slip_is_refused() -> None:
    """A typo is found when the module is imported, not when a client calls."""
    with pytest.raises(AssertionError, match="'string name' is no field"):
        Package("slip", {"M": "string name"}, {})
