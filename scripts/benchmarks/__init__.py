"""Measurements of the box against the direct call: `scripts/bench`."""
