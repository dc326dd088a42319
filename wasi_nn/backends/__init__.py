"""One file per inference runtime, and `fake`, the one that tests and demonstrations need.

`all_backends` is the only list of them: adding a runtime is adding its file and a line here.
"""

from wasi_nn.backend import Backend
from wasi_nn.backends.onnx import OnnxBackend
from wasi_nn.backends.openvino import OpenvinoBackend
from wasi_nn.backends.tflite import TfliteBackend


def all_backends() -> tuple[Backend, ...]:
    """Make one backend per real runtime, in the order in which an encoding is offered to them.

    OpenVINO, which reads the others' formats too, comes after the runtimes they were made for.
    No vendor is imported before a backend is probed or loads.
    """
    return OnnxBackend(), TfliteBackend(), OpenvinoBackend()
