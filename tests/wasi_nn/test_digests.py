from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from wasi_nn.digests import Digests, digest_of

# Longer than what is looked at first, so that only the middle tells some of them apart.
_PARTS = st.builds(
    lambda middle, size: b"a" * size + middle + b"z" * size,
    st.binary(max_size=3),
    st.sampled_from((0, 1, 100)),
)
_MODELS = st.lists(st.lists(_PARTS, max_size=3), min_size=1, max_size=12)


def _kept_bytes(digests: Digests) -> int:
    return sum(kept.size_bytes for kept in digests._kept.values())


def test_parts_are_not_run_together() -> None:
    """The same bytes cut into parts elsewhere are another model."""
    digests = {
        digest_of(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""])
    }

    assert len(digests) == 4


def test_digest_takes_any_buffer() -> None:
    """Where the bytes stand does not matter."""
    assert digest_of([b"abc"]) == digest_of([memoryview(bytearray(b"abc"))])


@given(_MODELS)
def test_whatever_came_before_the_digest_is_that_of_the_bytes(models: list[list[bytes]]) -> None:
    """Recognising what came before never takes one model for another."""
    digests = Digests(kept_bytes=500)

    for parts in [*models, *models, *models]:
        assert digest_of(parts) == digests.of(parts)
    assert _kept_bytes(digests) <= 500


def test_bytes_that_changed_in_the_middle_are_seen() -> None:
    """A guest's buffer that was recognised and then written to is another model."""
    digests, model = Digests(), bytearray(1000)
    for _ in range(3):
        digests.of([memoryview(model)])
    model[500] = 1

    assert digest_of([model]) == digests.of([memoryview(model)])


def _thrice(digests: Digests, parts: Sequence[bytes]) -> None:
    for _ in range(3):
        digests.of(parts)


def test_what_comes_once_is_not_kept() -> None:
    """A copy is taken only of what comes again, and given up for what came later."""
    digests = Digests(kept_bytes=300)
    digests.of([b"once" * 50])
    kept_of_one = _kept_bytes(digests)
    _thrice(digests, [b"a" * 200])
    _thrice(digests, [b"b" * 250])
    _thrice(digests, [b"too much" * 50])

    assert 0 == kept_of_one
    assert 250 == _kept_bytes(digests)
