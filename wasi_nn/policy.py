"""What one guest may hold and may use. The operator decides; the session enforces."""

from collections.abc import Mapping
from dataclasses import dataclass

from wasi_nn.backend import Device, Encoding, Objective
from wasi_nn.errors import NotPermitted
from wasi_nn.tensor import Numbering

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How much one guest may hold; chosen for an edge box, not measured.

    builders: parts of one model.   model_bytes: their sum.   tensor_bytes: inputs and outputs of
    all contexts together.
    """

    graphs: int = 8
    contexts: int = 64
    builders: int = 16
    model_bytes: int = 512 * MIB
    tensor_bytes: int = 256 * MIB


@dataclass(frozen=True, slots=True)
class Policy:
    """What one guest may use; None means everything.

    models: the names it may load, each with the name the catalogue knows it by.
    own_models: whether it may load bytes of its own.
    numbering: the meaning of the guest's tensor type numbers.
    allow_fallback: compute on the CPU where the wanted device is absent.
    objective: what its graphs are to be best at.
    """

    models: Mapping[str, str] | None = None
    encodings: frozenset[Encoding] | None = None
    devices: frozenset[Device] | None = None
    own_models: bool = True
    numbering: Numbering = Numbering.AUTO
    allow_fallback: bool = False
    objective: Objective = Objective.THROUGHPUT

    def check_device(self, device: Device) -> None:
        """Raises: NotPermitted if the guest may not use this device."""
        if self.devices is not None and device not in self.devices:
            granted = ", ".join(sorted(d.value for d in self.devices))
            raise NotPermitted(
                f"device {device.value}: this app may use {granted}; grant it in [nn] devices "
                "and in the policy"
            )

    def check_encoding(self, encoding: Encoding) -> None:
        """Raises: NotPermitted if the guest may not load this encoding."""
        if self.encodings is not None and encoding not in self.encodings:
            granted = ", ".join(sorted(e.value for e in self.encodings))
            raise NotPermitted(
                f"encoding {encoding.value}: this app may load {granted}; "
                "grant it in [nn] encodings and in the policy"
            )

    def check_own_model(self) -> None:
        """Raises: NotPermitted if the guest may not bring models of its own."""
        if not self.own_models:
            raise NotPermitted(
                "bytes of its own: this app may load models by name only; grant it own_models"
            )
