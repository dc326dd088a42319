"""Models found in the repository, without looking at every file for every request.

A look at all of a model's files holds for `recheck_s`, as long as nothing is put into or taken out
of its folders: what is renamed into place is seen at once, a file that is written in place at the
next look.

Measured: the look takes 0.06 ms, and 0.2 ms between two computes (cold caches).
"""

import time
from dataclasses import dataclass

from appliance.errors import ApplianceError, NotFound, Unavailable
from appliance.models import ModelRepository
from wasi_nn import errors as nn
from wasi_nn.catalogue import NamedModel

RECHECK_S = 0.1
_KEPT_LOOKS = 64
# Several ticks of any kernel: a folder's time is that of the last one, so what was put just now may
# be followed by another change of the same time.
_SETTLED_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look found, and until when it holds without another one."""

    found: NamedModel
    stamp: tuple[int, ...]
    until_s: float


class Lookups:
    """Finds models by name and version. Thread-safe: single operations on a dict."""

    def __init__(self, repository: ModelRepository, recheck_s: float = RECHECK_S) -> None:
        self._repository = repository
        self._recheck_s = recheck_s
        self._looks: dict[tuple[str, str], _Look] = {}

    def find(self, name: str, version: str = "") -> NamedModel:
        """Find a model. Raises: NotFound; Unavailable if it is broken."""
        return self.recall(name, version) or self._look(name, version)

    def recall(self, name: str, version: str = "") -> NamedModel | None:
        """Give what was found just now; None if it has to be looked for."""
        look = self._looks.get((name, version))
        if look is None or time.monotonic() >= look.until_s:
            return None
        is_same = look.stamp == self._repository.stamp(name, look.found.version)
        return look.found if is_same else None

    def _look(self, name: str, version: str) -> NamedModel:
        # The repository would take "name:version" for a name.
        if ":" in name or ":" in version:
            raise NotFound(f"Request for unknown model: '{name[:80]}' is not found")
        try:
            found = self._repository.find(f"{name}:{version}" if version else name)
            stamp = self._repository.stamp(name, found.version)
        except nn.NotFound as exc:
            raise NotFound(f"Request for unknown model: {exc}") from exc
        except nn.NNError as exc:
            raise not_ready(name, version, str(exc)) from exc
        if time.time_ns() - max(stamp) > _SETTLED_NS:
            if len(self._looks) >= _KEPT_LOOKS:
                self._looks.clear()
            self._looks[name, version] = _Look(found, stamp, time.monotonic() + self._recheck_s)
        return found


def not_ready(name: str, version: str, reason: str) -> ApplianceError:
    """Make the refusal of a model that is there and cannot compute, in Triton's words."""
    at = f" version {version}" if version else ""
    return Unavailable(f"Request for unknown model: '{name}'{at} is not at ready state: {reason}")
