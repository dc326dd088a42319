"""Which runtime can use which device on this machine, and the reason where it cannot."""

from collections.abc import Iterable

from wasi_nn.backend import Backend, BackendInfo, Device
from wasi_nn.errors import UnsupportedOperation


def survey(backends: Iterable[Backend]) -> tuple[BackendInfo, ...]:
    """Ask every runtime what it offers here. Imports the vendors, so takes up to seconds."""
    return tuple(backend.probe() for backend in backends)


def present(info: BackendInfo) -> tuple[Device, ...]:
    """List the devices that a runtime can use here."""
    return tuple(d.device for d in info.devices if d.present)


def unavailable(info: BackendInfo, device: Device) -> UnsupportedOperation:
    """Make the refusal of a device that a runtime cannot use here; the caller raises it."""
    if info.version is None:
        return UnsupportedOperation(f"backend {info.name}: not usable here: {info.reason}")
    reasons = [d.detail for d in info.devices if d.device is device and not d.present]
    names = ", ".join(d.value for d in present(info)) or "none"
    return UnsupportedOperation(
        f"device {device.value}: not available to backend {info.name}"
        f"{': ' + '; '.join(reasons) if reasons else ''}; present: {names}; load for one of "
        "these, or have the operator allow the fallback to cpu"
    )
