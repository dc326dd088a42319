"""A WASI-NN host for wasmtime-py: run this graph on these tensors, for a wasm guest.

    guest --> hostcall --> witx | wamr --> session --> executor --> backend
             (wasmtime)     (ABIs)        (handles)   (who, when)   (vendors)

Usable without the appliance: see `add_to_linker` in `witx` and `wamr`, and `serving.Guest`.
Nothing here starts a thread, opens a socket or reads a clock but the executor's deadline check.
"""
