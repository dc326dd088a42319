"""A polite app measured alone and beside hostile ones, in turns, over a real socket."""

import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from scripts.benchmarks.callers import closed_loop

# As often as a camera would show it frames, whatever became of the one before.
HOSTILE_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Siege:
    """Who is shown frames; the calls return when there is an answer, and never raise.

    alone_s, beside_s: lengths of a turn.
    """

    polite: Callable[[], object]
    hostile: Sequence[Callable[[], object]]
    alone_s: float
    beside_s: float

    def kept(self, turns: int) -> float:
        """Measure. Returns: the polite app's rate beside the hostile ones by its rate alone, the
        median of the turns."""
        ratios = []
        for _ in range(turns):
            alone = closed_loop([self.polite], self.alone_s)[0]
            with ExitStack() as attacks:
                for call in self.hostile:
                    attacks.enter_context(_attacked(call))
                ratios.append(closed_loop([self.polite], self.beside_s)[0] / alone)
        return statistics.median(ratios)


@contextmanager
def _attacked(call: Callable[[], object]) -> Iterator[None]:
    """Show a hostile app a frame every period, or as soon as it has answered."""
    is_over = threading.Event()

    def attack() -> None:
        while True:
            call()
            if is_over.wait(HOSTILE_PERIOD_S):
                return

    thread = threading.Thread(target=attack, name="hostile")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
