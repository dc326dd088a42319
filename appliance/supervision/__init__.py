"""Keeping the service alive: a small parent that starts it again, and the service's line to it.

The parent imports nothing of the box and no vendor, so that nothing that can crash is in it.
"""
