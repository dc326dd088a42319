"""Fuzz the core dialects from one process, so that whoever started it sees a crash.

    python -m tests.wasi_nn.fuzz [--net fake] [--calls 100000] [--seed 1] [--harsh]
                                 [--replay SEED:NUMBER]

Two threads work at once, each on guests of its own: what one guest does must not reach another.
Every sequence has a seed of its own; `--replay` does a single one again and tells its steps as it
goes, which finds the call that ended the process. A sequence that breaks a promise is made short
before it is shown.
"""

# ruff: noqa: T201, it talks to whoever started it
import argparse
import faulthandler
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.wasi_nn.conformance.dialects import ALL
from tests.wasi_nn.conformance.driver import Violation, paths, warm_up
from tests.wasi_nn.conformance.nets import Net, nets
from tests.wasi_nn.fuzz.sequence import Sequence
from tests.wasi_nn.fuzz.world import Call, Complaints, Step, World

CALLS_PER_SEQUENCE = 200
THREADS = 2
# A sequence takes some 20 ms; one that takes this long hangs.
HANG_S = 60


@dataclass
class Tally:
    """What was done so far, over all threads."""

    calls: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failure: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answers: Counter[str]) -> None:
        """Count a sequence."""
        with self.lock:
            self.calls += answers.total()
            self.answers.update(answers)

    def fail(self, failure: str) -> None:
        """Keep the first failure; everybody stops."""
        with self.lock:
            self.failure = self.failure or failure


class Fuzzer:
    """Runs sequences against one backend."""

    def __init__(self, net: Net, seed: int, *, is_mild: bool) -> None:
        self._net = net
        self._is_mild = is_mild
        self._seed = seed
        self._complaints = Complaints()
        self._complaints.listen()
        warm_up()

    def world(self, number: int) -> tuple[Random, World]:
        """Make what sequence `number` begins with; the same each time."""
        random = Random(f"{self._seed}:{number}")
        dialect = random.choice(ALL)
        path = random.choice(sorted(paths()) * 2 + ["fast" if "fast" in paths() else "public"] * 4)
        return random, World(dialect, self._net, path, self._complaints)

    def play(self, number: int, answers: Counter[str], *, is_told: bool = False) -> None:
        """Draw and do a sequence. Raises: Violation, its steps made few."""
        random, world = self.world(number)
        sequence = Sequence(random, world, self._net, is_mild=self._is_mild)
        done: list[Step] = []
        try:
            for step in sequence.steps(CALLS_PER_SEQUENCE):
                done.append(step)
                if is_told:
                    print(repr(step)[:200], flush=True)
                errno = world.do(step)
                if isinstance(step, Call):
                    answers[f"{step.name} {errno}"] += 1
            world.close()
        except Exception as exc:
            few = self._shorten(number, done)
            told = "\n".join(f"    {repr(step)[:300]}" for step in few)
            raise Violation(
                f"{type(exc).__name__}: {exc}\n  sequence {self._seed}:{number} on "
                f"{self._net.id}, {world.dialect.title}, shortened:\n{told}"
            ) from exc

    def _shorten(self, number: int, steps: list[Step]) -> list[Step]:
        """Leave out every step without which the sequence still fails, the last ones first."""
        few = list(steps)
        for at in range(len(few) - 2, -1, -1):
            shorter = few[:at] + few[at + 1 :]
            if self._fails(number, shorter):
                few = shorter
        return few

    def _fails(self, number: int, steps: list[Step]) -> bool:
        _, world = self.world(number)
        try:
            for step in steps:
                world.do(step)
            world.close()
        except Exception:
            self._complaints.heard.clear()
            return True
        return False


def work(fuzzer: Fuzzer, numbers: range, tally: Tally, calls: int, trail: Path | None) -> None:
    """Do sequences until enough is done or something is wrong."""
    for number in numbers:
        if tally.calls >= calls or tally.failure:
            return
        if trail is not None:
            trail.with_suffix(f".{threading.current_thread().name}").write_text(str(number))
        answers: Counter[str] = Counter()
        try:
            fuzzer.play(number, answers)
        except Exception as exc:
            tally.fail("".join(traceback.format_exception(exc)))
        tally.add(answers)
        faulthandler.dump_traceback_later(HANG_S, exit=True)


def main() -> int:
    """Fuzz as the command line says. Returns: the exit code, 1 for a broken promise."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--net", default="fake", choices=sorted(nets()))
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--harsh", action="store_true", help="spoil real models, too")
    parser.add_argument("--replay", help="SEED:NUMBER of one sequence")
    parser.add_argument("--trail", type=Path, help="where to note which sequence is under way")
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    is_mild = options.net not in ("fake", "quantised") and not options.harsh
    if options.replay:
        seed, number = (int(part) for part in options.replay.split(":"))
        Fuzzer(nets()[options.net], seed, is_mild=is_mild).play(number, Counter(), is_told=True)
        return 0
    fuzzer = Fuzzer(nets()[options.net], options.seed, is_mild=is_mild)
    return fuzz(fuzzer, options.net, options.calls, options.trail)


def fuzz(fuzzer: Fuzzer, net: str, calls: int, trail: Path | None) -> int:
    """Fuzz on all threads and tell what was done. Returns: the exit code."""
    tally = Tally()
    began_s = time.perf_counter()
    threads = [
        threading.Thread(
            target=work,
            name=f"fuzz-{first}",
            args=(fuzzer, range(first, 1 << 40, THREADS), tally, calls, trail),
        )
        for first in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began_s
    rate = f"{tally.calls} calls in {seconds:.1f} s, {tally.calls / seconds:.0f} a second"
    print(f"{net}: {rate}")
    print("  " + ", ".join(f"{what}: {count}" for what, count in sorted(tally.answers.items())))
    if tally.failure:
        print(tally.failure, file=sys.stderr)
    return 1 if tally.failure else 0


if __name__ == "__main__":
    sys.exit(main())
