"""Bad guests over the socket: one clear sentence each, and the box goes on as if nothing were."""

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service

QUICK = b"[limits]\ndeadline_s = 0.2\n"
OFFERED = "this box offers wasi_snapshot_preview1, wasi_ephemeral_nn, wasi_nn, appliance"

AT_DEPLOY = [
    pytest.param(guests.NOT_WASM, 422, "bad_guest", ["not wasm", "47 49 46"], id="not wasm"),
    pytest.param(guests.WAT_TEXT, 422, "bad_guest", ["not wasm"], id="wat text"),
    pytest.param(b"", 400, "bad_request", ["empty", "--data-binary"], id="empty"),
    pytest.param(guests.TRUNCATED, 422, "bad_guest", ["does not compile"], id="truncated"),
    pytest.param(guests.TINY, 422, "bad_guest", ["ends after 4 bytes"], id="four bytes"),
    pytest.param(guests.component(), 422, "bad_guest", ["component"], id="component"),
    pytest.param(
        b"\x7fELF\x02\x01\x01", 422, "bad_guest", ["machine code", "deploy the .wasm"],
        id="machine code",
    ),
    pytest.param(
        guests.unknown_import(), 422, "bad_guest", ["import env.magic: not offered", OFFERED],
        id="unknown module",
    ),
    pytest.param(
        guests.unknown_function(), 422, "bad_guest",
        ["import wasi_ephemeral_nn.train", "no such function"], id="unknown function",
    ),
    pytest.param(
        guests.wrong_signature(), 422, "bad_guest",
        ["import wasi_ephemeral_nn.compute", "i64", "i32"], id="wrong signature",
    ),
    pytest.param(
        guests.no_entry(), 422, "bad_guest", ["_start", "appliance_on_frame", "main, run"],
        id="no entry",
    ),
    pytest.param(
        guests.wrong_on_frame(), 422, "bad_guest", ["appliance_on_frame", "(i32) -> (i32)"],
        id="on_frame's signature",
    ),
    pytest.param(
        guests.hungry(), 422, "bad_guest", ["2147483648", "268435456", "memory_bytes"],
        id="memory over the limit",
    ),
    pytest.param(
        guests.hungry(is_command=True), 422, "bad_guest", ["2147483648", "memory_bytes"],
        id="memory of a command",
    ),
    pytest.param(guests.traps_at_start(), 502, "guest_failed", ["trapped"], id="trap at start"),
    pytest.param(b"PK\x03\x04 no zip", 400, "bad_request", ["zip", "damaged"], id="damaged zip"),
]  # fmt: skip

ON_FRAME = [
    pytest.param(guests.trapping(), "trap", ["trapped: ", "unreachable"], id="traps"),
    pytest.param(guests.looping(), "deadline", ["0.2 s", "deadline_s"], id="loops forever"),
    pytest.param(guests.command(guests.LOOP), "deadline", ["0.2 s"], id="command loops forever"),
    pytest.param(guests.recursing(), "trap", ["stack"], id="recursion"),
    pytest.param(guests.growing(), "memory", ["memory_bytes", "256 MiB"], id="takes all memory"),
    pytest.param(
        guests.command(guests.GROW), "memory", ["memory_bytes"], id="command takes all memory"
    ),
    pytest.param(guests.printing(b"oh", status=3), "exit", ["status 3"], id="exits with 3"),
    pytest.param(guests.reactor("(i32.const 5)"), "errno", ["returned 5"], id="errno"),
    pytest.param(guests.emitting(b"{'a': 1}"), "output", ["JSON object"], id="no JSON"),
    pytest.param(guests.emitting(b"[1, 2]"), "output", ["JSON object"], id="no JSON object"),
    pytest.param(guests.emitting(b'{"a": NaN}'), "output", ["JSON object"], id="NaN"),
    pytest.param(guests.huge_emit(), "output", ["104857600", "output_bytes"], id="emits 100 MB"),
    pytest.param(guests.flooding_emits(), "output", ["output_bytes"], id="emits without end"),
    pytest.param(guests.flooding_stdout(), "output", ["output_bytes"], id="prints 100 MB"),
    pytest.param(
        guests.flooding_stdout(is_stubborn=True), "output", ["output_bytes"],
        id="prints 100 MB stubbornly",
    ),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _steady(service: Service) -> None:
    """An app that every test finds unharmed."""
    assert service.deploy("steady", guests.STEADY).status_code == 200


def check_box(service: Service, picture: bytes) -> None:
    assert service.http.get("/healthz").json()["status"] == "ok"
    assert service.labels("steady", picture) == ["steady"]


def check_sentence(error: dict[str, str], words: list[str]) -> None:
    assert [word for word in words if word not in error["error"]] == [], error["error"]
    assert "\n" not in error["error"]
    assert "Traceback" not in error["error"]
    assert "/tmp" not in error["error"]


@pytest.mark.parametrize(("wasm", "status", "code", "words"), AT_DEPLOY)
def test_a_guest_that_cannot_run_is_refused_and_the_old_one_stays(
    service: Service, picture: bytes, wasm: bytes, status: int, code: str, words: list[str]
) -> None:
    """Refused with a reason; the version that was live answers, and nothing is left on disk."""
    before = service.files()

    response = service.deploy("steady", wasm)

    assert (status, code) == (response.status_code, response.json()["code"])
    check_sentence(response.json(), words)
    check_box(service, picture)
    assert before == service.files()


def test_a_guest_that_never_finishes_its_start_is_refused(service: Service, picture: bytes) -> None:
    """The app's deadline holds for `_initialize` too."""
    before = service.files()

    response = service.deploy("steady", guests.loops_at_start(), QUICK)

    assert (502, "deadline") == (response.status_code, response.json()["reason"])
    check_box(service, picture)
    assert before == service.files()


def test_the_failed_deploy_is_shown_with_the_app(service: Service) -> None:
    """The list says what is live and why the last deploy failed; success wipes that."""
    service.deploy("steady", guests.NOT_WASM)
    (failed,) = [a for a in service.http.get("/v1/apps").json() if a["name"] == "steady"]
    service.deploy("steady", guests.STEADY)
    (well,) = [a for a in service.http.get("/v1/apps").json() if a["name"] == "steady"]

    assert ("live", True) == (failed["state"], "not wasm" in failed["last_deploy_error"])
    assert ("live", "") == (well["state"], well["last_deploy_error"])


@pytest.mark.parametrize(("wasm", "reason", "words"), ON_FRAME)
def test_a_guest_that_fails_on_a_frame_is_reported_and_harms_nobody(
    service: Service, picture: bytes, wasm: bytes, reason: str, words: list[str]
) -> None:
    """502 with the reason, twice the same; the other app answers as before."""
    assert service.deploy("hostile", wasm, QUICK).status_code == 200

    responses = [service.show("hostile", picture) for _ in range(2)]

    for response in responses:
        assert (502, "guest_failed") == (response.status_code, response.json()["code"])
        assert reason == response.json()["reason"]
        check_sentence(response.json(), words)
    check_box(service, picture)


def test_failures_are_counted_by_reason(service: Service, picture: bytes) -> None:
    """The list of apps tells how often and why an app failed."""
    service.deploy("counted", guests.trapping())
    for _ in range(3):
        service.show("counted", picture)

    (app,) = [a for a in service.http.get("/v1/apps").json() if a["name"] == "counted"]
    assert (3, {"trap": 3}, 0) == (app["frames"], app["failures"], app["predictions"])
    assert "unreachable" in app["last_error"]


def test_a_flood_of_log_lines_is_dropped_not_obeyed(service: Service, picture: bytes) -> None:
    """The guest's answer counts; the box's log takes the lines of a second or two, no more."""
    service.deploy("noisy", guests.flooding_log(), b"[limits]\nlog_lines_per_s = 5\n")
    assert [None] == service.labels("noisy", picture)

    told = [line for line in service.log.read_text().splitlines() if "app=noisy text=" in line]
    assert 1 <= len(told) <= 5 * 30, "100 000 lines in under 30 s"


def test_nothing_half_written_remains(service: Service) -> None:
    """After all of the above no temporary is left anywhere in the state folder."""
    service.deploy("steady", guests.TRUNCATED)

    assert [] == [str(p) for p in service.state.rglob(".tmp-*")]
