import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from appliance.errors import BadSettings
from appliance.settings import GIB, KIB, MIB, AppLimits, Settings, load_settings, state_folder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("APPLIANCE_STATE", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_defaults_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without any setting starts, in the home folder."""
    # Shorter than a temporary folder: a socket's path has 107 bytes.
    monkeypatch.setenv("HOME", "/home/nobody-here")
    settings = load_settings()

    assert Path("/home/nobody-here/.local/state/appliance") == settings.state
    assert settings.limits == AppLimits(memory_bytes=256 * MIB, deadline_s=10.0)
    assert (settings.socket_mode, settings.threads) == (0o660, None)


def test_rooms_stand_in_the_state_folder(tmp_path: Path) -> None:
    """Every path is derived from the state folder."""
    settings = load_settings(state=tmp_path)
    derived = (
        settings.inbox, settings.apps, settings.models, settings.cache_aot,
        settings.predictions_db, settings.run_dir, settings.socket_path,
    )  # fmt: skip

    assert [str(p.relative_to(tmp_path)) for p in derived] == [
        "inbox", "apps", "models", "cache/aot", "predictions.db", "run", "run/appliance.sock",
    ]  # fmt: skip


def test_sockets_may_stand_elsewhere(tmp_path: Path) -> None:
    """In memory, for a box on a read-only state folder; clients find them by the same setting."""
    (tmp_path / "settings.toml").write_text('run = "/run/appliance"')

    assert load_settings(state=tmp_path).socket_path == Path("/run/appliance/appliance.sock")


@pytest.mark.parametrize("run", ["run", "/" + "x" * 100])
def test_a_folder_of_sockets_is_absolute_and_short(tmp_path: Path, run: str) -> None:
    """A relative one would be another for each client; the kernel takes 107 bytes."""
    with pytest.raises(BadSettings, match=r"setting run: got .*, wanted an? .*folder"):
        load_settings(state=tmp_path, run=run)


def test_the_state_folder_is_chosen_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller beats APPLIANCE_STATE, which beats systemd's first folder, which beats home."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/appliance:/var/lib/other")
    systemd = state_folder()
    monkeypatch.setenv("APPLIANCE_STATE", "/srv/box")
    environment = load_settings().state

    assert systemd == Path("/var/lib/appliance")
    assert environment == Path("/srv/box")
    assert load_settings(state="~/mine").state == Path("~/mine").expanduser()


def test_sources_are_merged_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caller over environment over file over default, inside [limits] too."""
    (tmp_path / "settings.toml").write_text(
        'threads = 1\nsocket_group = "video"\nmax_pixels = 1000\n'
        '[limits]\nmemory_bytes = "64MiB"\nhandles = 5\n'
    )
    monkeypatch.setenv("APPLIANCE_LIMITS__HANDLES", "6")
    monkeypatch.setenv("APPLIANCE_THREADS", "2")

    settings = load_settings(state=tmp_path, threads=3)

    assert (settings.threads, settings.socket_group, settings.max_pixels) == (3, "video", 1000)
    assert (settings.limits.memory_bytes, settings.limits.handles) == (64 * MIB, 6)
    assert settings.limits.deadline_s == 10.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1", 1), ("2 KiB", 2 * KIB), ("64MiB", 64 * MIB), ("1GiB", GIB), ("7B", 7)],
    ids=str,
)
def test_sizes_may_have_a_unit(text: str, wanted: int) -> None:
    """Binary units, and only they: MB could mean two things."""
    assert AppLimits.model_validate({"memory_bytes": text}).memory_bytes == wanted


@pytest.mark.parametrize("text", ["0660", "660", "0o660"])
def test_rights_are_octal_text(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment every spelling people use is octal."""
    monkeypatch.setenv("APPLIANCE_SOCKET_MODE", text)

    assert load_settings(state=tmp_path).socket_mode == 0o660


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        pytest.param(
            'max_body_bytes = "32MB"',
            r"^setting max_body_bytes: got '32MB', wanted a size such as \"64MiB\"",
            id="unit",
        ),
        pytest.param("threads = 0", "^setting threads: got 0, wanted greater than 0", id="range"),
        pytest.param(
            "max_pixel = 5", "^setting max_pixel: unknown key, did you mean max_pixels", id="typo"
        ),
        pytest.param(
            "[limits]\nhandle = 5", r"^setting limits\.handle: .* did you mean handles", id="nested"
        ),
        pytest.param("zzz = 5", "^setting zzz: unknown key, known are state, ", id="stranger"),
        pytest.param(
            "predictions_max_age_days = nan",
            "^setting predictions_max_age_days: got nan, wanted a finite number",
            id="NaN",
        ),
        pytest.param("socket_mode = 660", "^setting socket_mode: got 660, wanted", id="decimal"),
        pytest.param(
            "[scheduler.models.lite]\npreferred_batch_rows = [4]",
            r"^setting scheduler\.models\.lite\.preferred_batch_rows: got \[4\], wanted sizes up to"
            " max_batch_rows, which is to be given",
            id="preferred without a bound",
        ),
        pytest.param('state = "/x"', r"^settings\.toml: key state", id="state"),
        pytest.param("threads = \n", r"^settings\.toml: not TOML: .*line 1", id="no TOML"),
        pytest.param("x = " + "[" * 5000, r"^settings\.toml: not TOML", id="deep TOML"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, toml: str, sentence: str) -> None:
    """The sentence names the key, what it got and what is wanted."""
    (tmp_path / "settings.toml").write_text(toml)

    with pytest.raises(BadSettings, match=sentence):
        load_settings(state=tmp_path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder of that name is not mistaken for no file."""
    (tmp_path / "settings.toml").mkdir()

    with pytest.raises(BadSettings, match=r"settings\.toml: cannot be read: Is a directory"):
        load_settings(state=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        pytest.param("APPLIANCE_THREADS", "many", "threads: got 'many', wanted a valid", id="type"),
        pytest.param("APPLIANCE_LIMITS", "{", "environment", id="broken JSON"),
    ],
)
def test_a_bad_environment_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """The environment's mistakes read like the file's."""
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings, match=sentence):
        load_settings(state=tmp_path)


def test_an_unknown_variable_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubernetes sets some of our prefix, so they are not refused."""
    monkeypatch.setenv("APPLIANCE_PORT", "tcp://10.0.0.1:80")

    with caplog.at_level(logging.WARNING):
        load_settings(state=tmp_path)

    assert caplog.messages == ["setting ignored, no such key name=APPLIANCE_PORT"]


def test_a_socket_path_fits_the_kernels_field() -> None:
    """107 bytes are allowed, in bytes and not characters."""
    longest = Path("/" + "ä" * 44)
    tail = "/run/appliance.sock"

    assert len(str(load_settings(state=str(longest)[:-1] + "x").socket_path)) < 107
    assert len(f"{longest}{tail}".encode()) == 108
    with pytest.raises(BadSettings, match=r"state: .* wanted a shorter folder: .* has 108 bytes"):
        load_settings(state=longest)


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nothing changes after the start."""
    settings = Settings(state=tmp_path)

    with pytest.raises(ValidationError, match="frozen"):
        settings.threads = 4  # type: ignore[misc]


def test_an_apps_limits_lie_over_the_boxs() -> None:
    """Only what was said counts, even where it equals a default of ours."""
    said = AppLimits.model_validate({"handles": 64, "deadline_s": 1.0})
    box = AppLimits(handles=10, graphs=3)

    assert said.over(box) == AppLimits(handles=64, deadline_s=1.0, graphs=3)
