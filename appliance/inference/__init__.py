"""Inference for clients: models and apps under one protocol, computed through the scheduler."""

from appliance.inference.service import Inference, InferenceParts

__all__ = ["Inference", "InferenceParts"]
