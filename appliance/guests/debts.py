"""What failing apps owe the box, in processor seconds, and how they pay it back.

Rules:
1. All together pay at PAID_PER_S of a core: however many apps fail, it is so much that they cost
   the others in the long run.
2. Those in debt pay alike; what one no longer needs goes to the rest.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# With a tenth, one spinning guest cost a busy machine of two cores 15 % of its polite app's rate,
# as many at once did; thirteen, each paying at its own rate, cost half of it.
PAID_PER_S = 0.05
# Bad luck with some frames is no debt; a loop up to the default deadline is 190 s of pause.
BURST_S = 0.5
# So much that its payment, alone, takes five minutes.
_MAX_DEBT_S = BURST_S + PAID_PER_S * 300.0


class Ledger:
    """The debts of one box. Thread-safe. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until_s = clock()
        # Those who owe something; insertion order, which says nothing.
        self._owing: dict[int, Account] = {}

    def open(self) -> "Account":
        """Open an account without debt."""
        return Account(self)

    def add(self, account: "Account", spent_s: float) -> None:
        """Let an account owe more, within reason."""
        with self._lock:
            self._pay()
            account.owed = min(account.owed + spent_s, _MAX_DEBT_S)
            if account.owed > 0:
                self._owing[id(account)] = account

    def owed_s(self, account: "Account") -> float:
        """Say what is left of an account's debt."""
        with self._lock:
            self._pay()
            return account.owed

    def suspended_s(self, account: "Account") -> float:
        """Say how long it takes to pay an account down to what is tolerated, as things stand."""
        with self._lock:
            self._pay()
            return max(0.0, account.owed - BURST_S) / self._rate()

    def close(self, account: "Account") -> None:
        """Forget an account."""
        with self._lock:
            self._pay()
            self._owing.pop(id(account), None)
            account.owed = 0.0

    def _rate(self) -> float:
        return PAID_PER_S / max(1, len(self._owing))

    def _pay(self) -> None:
        """Take off what was paid since; step by step, for fewer pay faster."""
        left_s = self._clock() - self._paid_until_s
        self._paid_until_s += left_s
        while self._owing and left_s > 0:
            rate = self._rate()
            step_s = min(left_s, min(account.owed for account in self._owing.values()) / rate)
            left_s -= step_s
            for account in tuple(self._owing.values()):
                account.owed -= step_s * rate
                # What a float cannot tell from nothing would take a step of its own.
                if account.owed <= 1e-9:
                    account.owed = 0.0
                    del self._owing[id(account)]


@dataclass(slots=True, eq=False)
class Account:
    """What one app owes; changed by its ledger only."""

    _ledger: Ledger
    owed: float = field(default=0.0)

    def add(self, spent_s: float) -> None:
        """Owe more."""
        self._ledger.add(self, spent_s)

    def owed_s(self) -> float:
        """What is left of the debt."""
        # Who owes nothing comes into debt by `add` only; nearly everybody, about every frame.
        return self._ledger.owed_s(self) if self.owed else 0.0

    def suspended_s(self) -> float:
        """How long until it is paid down to what is tolerated."""
        return self._ledger.suspended_s(self) if self.owed else 0.0

    def close(self) -> None:
        """Owe nothing any more, for the app is gone."""
        self._ledger.close(self)
