"""How often a guest called each host function, and how long it was in there.

Costs about half a microsecond a call, so it is for one guest under a user's eyes, not for a box.
"""

import time
from dataclasses import dataclass

from wasi_nn.hostcall import HostFunction


@dataclass(slots=True)
class CallCost:
    """count: calls.   seconds: inside the host, all together."""

    count: int = 0
    seconds: float = 0.0


class CallMeter:
    """Costs by function, `module.name`; give `wrap` to `hostcall.wrapping`."""

    def __init__(self) -> None:
        self.costs: dict[str, CallCost] = {}

    @property
    def seconds(self) -> float:
        """Time in all of them."""
        return sum(cost.seconds for cost in self.costs.values())

    def wrap(self, name: str, function: HostFunction) -> HostFunction:
        """Measure a function."""

        def metered(*arguments: object) -> int | None:
            cost = self.costs.setdefault(name, CallCost())
            started_s = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                cost.count += 1
                cost.seconds += time.perf_counter() - started_s

        return metered
