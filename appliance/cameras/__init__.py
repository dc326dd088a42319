"""Cameras: frames that keep coming.

    table --> camera --> [worker: sources --> pace, motion] --> ring --> newest --> Lease
       |         |        its own process, PyAV (FFmpeg)
       |     lifecycle   pure: when to start, end and retry
       `--> push         frames that clients post; in this process

What others use: `table.CameraTable` (all cameras, kept on disk), `config.CameraConfig` (one camera
as the operator wants it), `states` (Camera, CameraStatus, CameraState), `newest.Lease` (a frame
borrowed from a camera), `discover.discover` (V4L2 devices of this machine).

Rules:
1. A source is opened and decoded in a process of its own, never here: FFmpeg reads what strangers
   send, and a device can hang in the kernel. This process does not even import PyAV.
2. The camera never waits for the box. Whoever is slow misses frames; each one missed is counted.
3. A camera's URL may hold a password. It is kept in the table's file (rights 0600) and given to
   the worker by a pipe; all else, logs and messages included, sees `shown_url`.
"""
