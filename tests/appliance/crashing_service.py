"""The real service with a fake runtime among its backends, which ends or stops the process.

    python -m tests.appliance.crashing_service serve --state DIR

As `python -m appliance`, supervisor and all. The fake loads what calls itself ONNX: a model with
`abort_on_value` ends the process, one with a `delay_s` of 1000 or more sleeps with the
interpreter's lock in hand, so that nothing else in the process goes on.
"""

import ctypes
import sys

from appliance.supervision.parent import supervise


def _serve() -> None:
    """Be the service."""
    from appliance import app
    from appliance.cli import main
    from wasi_nn.backend import Encoding
    from wasi_nn.backends.fake import FakeBackend

    def sleep(delay_s: float) -> None:
        # PyDLL, unlike CDLL, does not let go of the lock.
        library = ctypes.PyDLL(None) if delay_s >= 1000 else ctypes.CDLL(None)
        library.sleep(int(delay_s))

    app.all_backends = lambda: (FakeBackend((Encoding.ONNX,), sleep=sleep),)
    main()


if "--link" in sys.argv:
    _serve()
else:
    supervise([sys.executable, "-m", "tests.appliance.crashing_service"], sys.argv[1:])
