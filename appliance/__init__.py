"""The service: a wasm image classifier and frames go in, predictions come out.

Threads, sockets, clocks, processes and HTTP live here and nowhere else; graphs, tensors and
guest ABIs are next door in `wasi_nn`. Imports go down only:

    L0  errors settings metrics logs records files
    L1  batching manifests pictures preprocess
    L2  scheduler models guests cameras/ store plugins/
    L3  pipeline deploy
    L4  api/ web/ links/
    L5  app (builds, wires, starts, stops in reverse)
    L6  cli
"""
