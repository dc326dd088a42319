"""What compiled guests are compiled for: the engine's settings, and a name for all they depend on.

Imported by the child that compiles, whose start every deploy of a new guest waits for: wasmtime,
the standard library, and nothing else.
"""

import platform
from hashlib import sha256

import wasmtime

# What a guest may nest; wasmtime's default, half a megabyte. It does not get into the code.
STACK_BYTES = 512 * 1024
_EMPTY_MODULE = b"\0asm\x01\0\0\0"
_DIGEST_LENGTH = 12


def make_engine(*, counts_fuel: bool = False) -> wasmtime.Engine:
    """Make an engine as the box and its compiler have it.

    Instances are allocated on demand, their memory copied on write. wasmtime's pool of instances,
    which its Python package does not offer, was tried by the C API: 5 us for 11 of an instance's
    80 us, for 270 GB of address space and a fixed number of instances; not worth it.
    """
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = STACK_BYTES
    config.consume_fuel = counts_fuel
    return wasmtime.Engine(config)


def fingerprint_of(engine: wasmtime.Engine) -> str:
    """Name all that an engine's code depends on: another name, other code.

    wasmtime writes into what it compiles the target, every flag of the code generator, the
    processor's features it may use, the engine's settings and its own major version. All of that
    is in the compiled empty module, so its hash names it, whatever a later wasmtime adds. The
    package's full version comes beside: wasmtime takes code of the same major version, also that
    of a release whose compiler was mended since.
    """
    # Slow to import, and the child does not need it.
    from importlib.metadata import version

    compiled = wasmtime.Module(engine, _EMPTY_MODULE).serialize()
    digest = sha256(compiled).hexdigest()[:_DIGEST_LENGTH]
    return f"wasmtime-{version('wasmtime')}-{platform.machine()}-{digest}"
