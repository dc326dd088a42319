"""The service: a wasm image classifier and frames go in, predictions come out.

Threads, sockets, clocks, processes and HTTP live here and nowhere else; graphs, tensors and
guest ABIs are next door in `wasi_nn`. Imports go down only:

    L0  errors settings logs records files shipped scratch   supervision/ (keeps the service alive)
    L1  batching lanestats stacking calls (what runs together)   manifests preprocess pictures
        archives bundles golden quiet   metrics (snapshots as text)
        marks suspicion quarantine (what crashed the box)
    L2  scheduler lanes   planning plans (how a graph is best run)   models   guests/   store/
        feed (predictions as they come)   trials/ (new versions, each in a throw-away process)
    L3  apps pipeline (frame -> prediction)   deploy inbox drops
    L4  api/   client
    L5  app (builds, wires, starts, stops in reverse)
    L6  cli/

`tests/test_layout.py` holds these rules; a new file belongs to one of these lines.
"""
