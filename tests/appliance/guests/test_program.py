"""What a guest's exports and memory say about it."""

import pytest

from appliance.errors import BadGuest
from appliance.guests.program import mode_of
from appliance.manifests import Mode
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop
from wasi_nn.backend import Device, Encoding

BOTH = guests.wasm(
    '(module (func (export "_start")) (func (export "appliance_on_frame")'
    " (param i32) (result i32) (i32.const 0)))"
)


@pytest.mark.parametrize(
    ("wasm", "asked", "mode"),
    [
        pytest.param(guests.STEADY, Mode.AUTO, Mode.REACTOR, id="reactor"),
        pytest.param(guests.command(""), Mode.AUTO, Mode.COMMAND, id="command"),
        pytest.param(BOTH, Mode.AUTO, Mode.REACTOR, id="both: the cheaper one"),
        pytest.param(BOTH, Mode.COMMAND, Mode.COMMAND, id="both: as asked"),
    ],
)
def test_the_mode_is_recognised(workshop: Workshop, wasm: bytes, asked: Mode, mode: Mode) -> None:
    """Exports decide, and the manifest where both would do."""
    assert mode == mode_of(workshop.compiler.module(wasm), asked)


@pytest.mark.parametrize(
    ("wasm", "asked", "words"),
    [
        pytest.param(guests.no_entry(), Mode.AUTO, "it exports main, run", id="no entry"),
        pytest.param(guests.wasm("(module)"), Mode.AUTO, "exports nothing", id="empty module"),
        pytest.param(guests.STEADY, Mode.COMMAND, "does not export _start", id="not a command"),
        pytest.param(
            guests.command(""), Mode.REACTOR, "does not export appliance_on_frame", id="no reactor"
        ),
        pytest.param(guests.STEADY, Mode.STREAM, "mode stream: not run by this", id="stream"),
        pytest.param(guests.STEADY, Mode.COMPONENT, "mode component: not run", id="component"),
        pytest.param(guests.wrong_on_frame(), Mode.AUTO, "wanted .i32. -> .i32", id="signature"),
        pytest.param(
            guests.wasm('(module (memory (export "appliance_on_frame") 1))'), Mode.AUTO,
            "wanted .i32. -> .i32", id="no function",
        ),
    ],
)  # fmt: skip
def test_what_fits_no_mode_is_refused(
    workshop: Workshop, wasm: bytes, asked: Mode, words: str
) -> None:
    """The sentence names what is missing."""
    with pytest.raises(BadGuest, match=words):
        mode_of(workshop.compiler.module(wasm), asked)


@pytest.mark.parametrize(
    "export",
    [
        pytest.param('(memory (export "_start") 1)', id="a memory"),
        pytest.param('(func (export "_start") (param i64))', id="a parameter"),
        pytest.param('(func (export "_start") (result i32) (i32.const 0))', id="a result"),
    ],
)
def test_a_start_of_another_kind_is_refused(workshop: Workshop, export: str) -> None:
    """The entry is called without checks, so its signature is checked here."""
    with pytest.raises(BadGuest, match=r"_start .*wanted \(\) -> \(\)"):
        workshop.program(guests.wasm(f"(module {export})"))


@pytest.mark.parametrize("is_command", [False, True], ids=["reactor", "command"])
def test_a_memory_that_begins_over_the_limit_is_refused(
    workshop: Workshop, is_command: bool
) -> None:
    """At deploy and not at the first frame; a higher limit lets it through."""
    wasm = guests.hungry(is_command=is_command)
    with pytest.raises(BadGuest, match="begins with 2147483648 bytes, the app's limit is 268435"):
        workshop.program(wasm)

    workshop.program(wasm, '[limits]\nmemory_bytes = "2GiB"')


def test_the_manifest_reaches_the_session(workshop: Workshop) -> None:
    """Limits and permissions are what app.toml says, over the box's defaults."""
    program = workshop.program(
        guests.STEADY,
        'models = {m = "tiny"}\n[limits]\nhandles = 3\n[nn]\nencodings = ["onnx"]\n'
        'devices = ["cpu"]',
    )
    session = program.new_session()

    assert (3, 8) == (session.limits.contexts, session.limits.graphs)
    assert {"m": "tiny"} == session.policy.models
    assert ({Encoding.ONNX}, {Device.CPU}) == (session.policy.encodings, session.policy.devices)
    session.close()
