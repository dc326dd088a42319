"""Inference for clients: models and apps under one protocol, computed through the scheduler."""

from appliance.inference.parts import InferenceParts
from appliance.inference.service import Inference

__all__ = ["Inference", "InferenceParts"]
