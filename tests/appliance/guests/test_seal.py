"""The seal of compiled guests: what is whole is taken, what is not is told apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.guests.seal import MAGIC, SEAL_BYTES, BrokenSeal, check_seal, sealed

CONTENT = bytes(range(256)) * 5000  # over a piece of reading
FOR = "wasmtime-1.2.3-x86_64-0123456789ab"


@contextmanager
def opened(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        yield file.fileno()


def put(path: Path, content: bytes = CONTENT) -> Path:
    """Write a file as it is to be sealed, and seal it."""
    path.write_bytes(content)
    with opened(path) as descriptor:
        path.write_bytes(b"".join(list(sealed(descriptor, FOR))))
    return path


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "large"])
def test_what_was_sealed_is_taken(tmp_path: Path, content: bytes) -> None:
    """The content comes first, unchanged; the seal says what it is for."""
    path = put(tmp_path / "a", content)

    with opened(path) as descriptor:
        assert FOR == check_seal(descriptor)
    assert content == path.read_bytes()[:-SEAL_BYTES]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda raw: raw[: len(raw) // 2], "no seal", id="half of it"),
        pytest.param(lambda raw: raw[:-1], "no seal", id="a byte short"),
        pytest.param(lambda raw: raw + b"\n", "no seal", id="a byte long"),
        pytest.param(lambda raw: b"", "no seal", id="empty"),
        pytest.param(lambda raw: raw[:-SEAL_BYTES], "no seal", id="without"),
        pytest.param(lambda raw: raw[-SEAL_BYTES + 1 :], "no seal", id="less than a seal"),
        pytest.param(lambda raw: b"y" + raw[1:], "its hash", id="first byte"),
        pytest.param(lambda raw: raw[1:], "its hash", id="begins later"),
        pytest.param(lambda raw: raw[:-1] + b"\0", "its hash", id="the hash"),
        pytest.param(
            lambda raw: raw.replace(MAGIC + b"wasmtime-1", MAGIC + b"wasmtime-2"), "its hash",
            id="for another engine",
        ),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], words: str
) -> None:
    """One changed, missing or added byte anywhere breaks it."""
    path = put(tmp_path / "a")
    path.write_bytes(damage(path.read_bytes()))

    with opened(path) as descriptor, pytest.raises(BrokenSeal, match=words):
        check_seal(descriptor)
