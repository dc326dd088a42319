"""Idle things, in bounds."""

from wasi_nn.backends.pool import IdlePool


def test_empty() -> None:
    """Nothing idle is None."""
    assert IdlePool[str, str](2).take("a") is None


def test_gives_back() -> None:
    """What was given is taken once, by its key only."""
    pool = IdlePool[str, str](2)
    pool.give("a", "x")

    assert pool.take("b") is None
    assert pool.take("a") == "x"
    assert pool.take("a") is None


def test_bound() -> None:
    """Over the bound, the key unused for longest loses one."""
    pool = IdlePool[str, str](2)
    pool.give("a", "x")
    pool.give("b", "y")
    pool.give("a", "z")

    assert pool.take("b") is None
    assert ["z", "x"] == [pool.take("a"), pool.take("a")]


def test_taken_does_not_count() -> None:
    """Only idle things count."""
    pool = IdlePool[int, str](1)
    for number in range(5):
        pool.give(number, "x")
        assert pool.take(number) == "x"


def test_close() -> None:
    """A closed pool keeps nothing."""
    pool = IdlePool[str, str](2)
    pool.give("a", "x")
    pool.close()
    pool.give("a", "y")

    assert pool.take("a") is None
