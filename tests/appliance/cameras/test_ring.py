"""The ring: a frame is seen whole or not at all, and the writer never waits."""

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from appliance.cameras.ring import RingBroken, RingReader, RingWriter, Token

FRAMES = 6000


@pytest.fixture
def reader() -> Iterator[RingReader]:
    ring = RingReader(slots=3)
    yield ring
    ring.close()


@pytest.fixture
def writer(reader: RingReader) -> RingWriter:
    return RingWriter(reader.writer_ends)


def write(writer: RingWriter, number: int, *, width: int = 4, height: int = 2) -> bool:
    slot = writer.slot(width, height)
    if slot is None:
        return False
    slot[:] = number
    writer.publish(lambda place: Token(place, number, 5, 6, width, height, number))
    return True


def test_a_frame_arrives(reader: RingReader, writer: RingWriter) -> None:
    """Its pixels, size, times and number."""
    write(writer, 7)
    (token,) = reader.read()

    assert (7, 5, 6, 4, 2) == (
        token.sequence, token.wall_ns, token.monotonic_ns, token.width, token.height,
    )  # fmt: skip
    assert np.array_equal(np.full((2, 4, 3), 7), reader.pixels(token))


def test_pixels_are_the_shared_memory_itself(reader: RingReader, writer: RingWriter) -> None:
    """Nothing is copied, and nothing here can write to it."""
    write(writer, 7)
    (token,) = reader.read()
    one, two = reader.pixels(token), reader.pixels(token)

    assert np.shares_memory(one, two)
    with pytest.raises(ValueError, match="read-only"):
        one[0, 0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        one.flags.writeable = True


def test_unread_frames_are_overwritten_oldest_first(reader: RingReader, writer: RingWriter) -> None:
    """Latest wins: the reader that comes late finds the last three."""
    for number in range(10):
        write(writer, number)

    assert [7, 8, 9] == [token.sequence for token in reader.read()]
    assert 7 == writer.overwritten


def test_slots_on_loan_are_not_touched(reader: RingReader, writer: RingWriter) -> None:
    """With all of them on loan there is none to write to; one given back is used."""
    for number in range(3):
        write(writer, number)
    tokens = reader.read()
    refused = write(writer, 3)
    reader.give_back(tokens[1])
    taken = write(writer, 4)

    assert (False, True) == (refused, taken)
    assert [0, 2] == [int(reader.pixels(tokens[n])[0, 0, 0]) for n in (0, 2)]


def test_a_slot_grows(reader: RingReader, writer: RingWriter) -> None:
    """A larger picture fits where a smaller one was; views of before stay readable."""
    views = []
    for number in range(12):
        write(writer, number, width=4 * (number + 1))
        (token,) = reader.read()
        views.append(reader.pixels(token))
        reader.give_back(token)

    assert (2, 48, 3) == views[-1].shape
    assert all(view.sum() >= 0 for view in views)


def test_a_slot_cannot_be_shrunk(reader: RingReader, writer: RingWriter) -> None:
    """By nobody: reading what was cut off would kill the box."""
    write(writer, 1)
    fd = reader.writer_ends.slots[0]

    with pytest.raises(PermissionError, match="Operation not permitted"):
        os.ftruncate(fd, 0)
    with pytest.raises(PermissionError, match="Operation not permitted"):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (Token(9, 1, 0, 0, 4, 2), "slot 9"),
        (Token(1, 1, 0, 0, 0, 2), "0x2"),
        (Token(1, 1, 0, 0, 4, 1 << 20), "4x1048576"),
        (Token(1, 1, 0, 0, 4000, 4000), "48000000 bytes in a smaller slot"),
        (Token(1, 1 << 63, 0, 0, 4, 2), "after 0"),
        (Token(1, 0, 0, 0, 4, 2), "frame 0 after 0"),
        (Token(0, 1, 0, 0, 4, 2), "slot 0, which is not the worker's"),
    ],
)
def test_a_worker_is_not_believed(reader: RingReader, token: Token, reason: str) -> None:
    """It decodes what strangers send, and may have been taken over."""
    write(RingWriter(reader.writer_ends), 0)
    os.ftruncate(reader.writer_ends.slots[1], 4096)
    reader.read()
    os.write(reader.writer_ends.ready_write, token.pack())

    with pytest.raises(RingBroken, match=reason):
        reader.read()


def test_half_a_record_is_not_believed(reader: RingReader) -> None:
    """Somebody else wrote to the pipe."""
    os.write(reader.writer_ends.ready_write, b"half")

    with pytest.raises(RingBroken, match="got 4 bytes"):
        reader.read()


def test_giving_back_after_the_end_is_nothing(reader: RingReader, writer: RingWriter) -> None:
    """A lease may outlive its ring; its pixels, too."""
    write(writer, 7)
    (token,) = reader.read()
    pixels = reader.pixels(token)
    reader.close()
    reader.give_back(token)

    assert 7 * 24 == pixels.sum()


def test_frames_are_never_torn() -> None:
    """Two processes at full speed, leases held at random: every byte looked at is its frame's."""
    ring = RingReader()
    arguments = (*map(str, ring.writer_ends.all()), str(FRAMES))
    worker = subprocess.Popen(
        (sys.executable, "-m", "tests.appliance.cameras.ringwriter", *arguments),
        pass_fds=ring.writer_ends.all(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen, wrong, held = [], 0, []
    random = np.random.default_rng(1)
    with worker:
        while worker.poll() is None or select.select([ring.ready_read], [], [], 0)[0]:
            select.select([ring.ready_read], [], [], 0.1)
            held += ring.read()
            random.shuffle(held)
            # Up to three stay on loan: they are looked at again after others were written.
            for token in held:
                wrong += int(np.any(ring.pixels(token) != token.digest))
            while len(held) > random.integers(0, 4):
                token = held.pop()
                seen.append(token.sequence)
                ring.give_back(token)
        assert worker.stdout is not None
        overwritten, busy = map(int, worker.stdout.read().split())
    ring.close()

    assert (0, 0) == (wrong, worker.returncode)
    assert len(seen) == len(set(seen))
    assert FRAMES == len(seen) + len(held) + overwritten + busy
    assert len(seen) > 100
