"""The Open Inference Protocol, version 2: its messages and how they are written as bytes.

Pure: no socket, no model. `appliance.inference` answers the messages; `appliance.api` carries them.
"""
