"""The child process that compiles one guest: `python -m appliance.guests.compiler SRC DST`.

Prints the reason on standard output and exits with REFUSED if the guest does not compile. Whatever
else ends it (a crash of the compiler, the memory limit) is another status.
"""

import resource
import sys
from pathlib import Path

from appliance.errors import BadGuest
from appliance.guests.aot import REFUSED, compile_bytes
from appliance.guests.engine import GuestEngine

# Address space, not use: wasmtime and numpy map about 1 GiB before they compile anything.
MAX_ADDRESS_BYTES = 6 * 1024**3


def main(arguments: list[str]) -> int:
    """Compile; see the module's text."""
    source, target = Path(arguments[0]), Path(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    engine = GuestEngine(counts_fuel="--fuel" in arguments[2:])
    try:
        target.write_bytes(compile_bytes(engine, source.read_bytes()))
    except BadGuest as exc:
        sys.stdout.write(f"{exc}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
