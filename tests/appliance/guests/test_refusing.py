"""The clock and random numbers, where the policy withholds them; and what the guest is told."""

import pytest

from appliance.errors import FailureReason, Forbidden, GuestFailed
from appliance.guests.reactor import ReactorRunner
from appliance.policies import PolicySettings
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop

ASKING = """(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $time (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $res (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $env (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "appliance_on_frame") (param i32) (result i32) BODY))"""
TIME = "(call $time (i32.const 0) (i64.const 1) (i32.const 8))"
RES = "(call $res (i32.const 1) (i32.const 8))"
RANDOM = "(call $random (i32.const 8) (i32.const 4))"
# A reactor returns 0 or fails; -7 stands for "it worked" here.
WORKED = "(if (result i32) (i32.eqz {call}) (then (i32.const -7)) (else {call}))"


def answer(workshop: Workshop, frame: Frame, call: str, policy: str, manifest: str = "") -> str:
    """Run a guest that returns what a call gave. Returns: the failure's sentence."""
    workshop.grant(PolicySettings.model_validate_json(policy))
    program = workshop.program(
        guests.wasm(ASKING.replace("BODY", WORKED.format(call=call))), manifest
    )
    runner = ReactorRunner(program, 1)
    with pytest.raises(GuestFailed, match="appliance_on_frame returned") as raised:
        runner.run(frame)
    runner.close()
    assert FailureReason.ERRNO == raised.value.reason
    return str(raised.value)


@pytest.mark.parametrize(
    ("call", "policy", "manifest"),
    [
        pytest.param(TIME, "{}", "", id="clock by default"),
        pytest.param(RANDOM, "{}", "", id="random by default"),
        pytest.param(TIME, '{"random": false}', "", id="clock, random withheld"),
        pytest.param(RANDOM, '{"clock": false}', "", id="random, clock withheld"),
        pytest.param(
            TIME, '{"clock": false, "apps": {"guest": {"clock": true}}}', "", id="this app may"
        ),
    ],
)
def test_what_is_granted_works(
    workshop: Workshop, frame: Frame, call: str, policy: str, manifest: str
) -> None:
    """A lone wasm reads clock and random numbers; withholding one leaves the other."""
    assert "returned -7" in answer(workshop, frame, call, policy, manifest)


@pytest.mark.parametrize(
    ("call", "policy", "manifest", "what"),
    [
        pytest.param(TIME, '{"clock": false}', "", "clock_time_get", id="time"),
        pytest.param(RES, '{"clock": false}', "", "clock_res_get", id="resolution"),
        pytest.param(RANDOM, '{"random": false}', "", "random_get", id="random"),
        pytest.param(TIME, "{}", "[wasi]\nclock = false", "clock_time_get", id="manifest forgoes"),
        pytest.param(
            TIME, '{"apps": {"guest": {"clock": false}}}', "", "clock_time_get", id="this app not"
        ),
    ],
)
def test_what_is_withheld_gives_its_errno(
    workshop: Workshop, frame: Frame, call: str, policy: str, manifest: str, what: str
) -> None:
    """76, not capable; the frame's failure says which call and why."""
    told = answer(workshop, frame, call, policy, manifest)

    assert "returned 76" in told
    assert f"its last failed call: {what}: errno 76, this app is not granted" in told


def test_asking_in_vain_is_refused_at_once(workshop: Workshop) -> None:
    """A program is not even made: the policy holds wherever guests are made."""
    workshop.grant(PolicySettings(clock=False))

    with pytest.raises(Forbidden, match=r"app guest: .* wasi.clock, .* change clock"):
        workshop.program(guests.STEADY, "[wasi]\nclock = true")


def test_the_machines_environment_is_not_inherited(workshop: Workshop, frame: Frame) -> None:
    """A guest sees its manifest's variables and those of the operator's that it asks for."""
    count = "(drop (call $env (i32.const 8) (i32.const 12))) (i32.load (i32.const 8))"
    workshop.grant(PolicySettings.model_validate({"env": {"SITE": "berlin", "KEY": "secret"}}))
    text = guests.wasm(ASKING.replace("BODY", count))
    runner = ReactorRunner(
        workshop.program(text, 'env_from = ["SITE"]\n[env]\nSITE = "none"\nMODE = "day"'), 1
    )

    with pytest.raises(GuestFailed, match="returned 2,"):
        runner.run(frame)
    runner.close()
