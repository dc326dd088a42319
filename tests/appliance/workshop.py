"""What tests of rooms need: pictures, fake models, and programs made without a compiling child."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from PIL import Image

from appliance.bundles import Bundle
from appliance.guests.aot import check_magic, compile_bytes
from appliance.guests.engine import GuestEngine
from appliance.guests.program import Host, Program, make_program
from appliance.manifests import parse_app_manifest
from appliance.models import ModelRepository
from appliance.policies import PolicySettings
from appliance.settings import AppLimits
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.executor import DirectExecutor
from wasi_nn.registry import Registry
from wasi_nn.tensor import TensorSpec, TensorType


def png(width: int = 8, height: int = 6) -> bytes:
    """Draw a picture in which every pixel differs."""
    ramp = np.arange(width * height * 3, dtype=np.uint32) * 7 % 256
    packed = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8).reshape(height, width, 3)).save(packed, "PNG")
    return packed.getvalue()


MODEL_TOML = b"""
name = "tiny"
inputs = [{name = "image", size_wh = [4, 2], mean = [1, 2, 3], std = [4, 5, 6]}]
outputs = [{name = "scores", kind = "logits", labels = "labels.txt"}]
files = [{encoding = "onnx", paths = ["model.onnx"], layout = "NCHW"}]
"""


def fake_model(**rest: Any) -> bytes:
    """Write a fake model of an image of 4 by 2 pixels that gives back what it got."""
    image = TensorSpec("image", TensorType.F32, (None, 3, 2, 4))
    scores = TensorSpec("scores", TensorType.F32, (None, 3, 2, 4))
    return model([image], [scores], "identity", **rest)


def put_model(root: Path, name: str = "tiny", **rest: Any) -> Path:
    """Put a fake model into a repository. Returns: its folder."""
    folder = root / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(fake_model(**rest))
    (folder / "model.toml").write_bytes(MODEL_TOML.replace(b'"tiny"', f'"{name}"'.encode()))
    (folder / "labels.txt").write_text("zero\nübung\ntwo\n")
    return folder


class HereCompiler:
    """Compiles in this process, 100 times as fast as a child: the guests here are our own."""

    def __init__(self, engine: GuestEngine) -> None:
        self._engine = engine

    def for_engine(self, engine: GuestEngine) -> "HereCompiler":
        """See `AotCache.for_engine`."""
        return HereCompiler(engine)

    def module(self, wasm: bytes) -> wasmtime.Module:
        """See `AotCache.module`."""
        check_magic(wasm)
        return wasmtime.Module.deserialize(self._engine.engine, compile_bytes(self._engine, wasm))


class Workshop:
    """Makes programs for an engine, over fake models.

    gate: called by every model that has a delay, with its seconds.
    """

    def __init__(self, engine: GuestEngine, models: Path) -> None:
        self.engine = engine
        self.models = models
        self.gate: Callable[[float], None] = lambda _: None
        self.backend = FakeBackend(sleep=lambda delay_s: self.gate(delay_s))
        self.repository = ModelRepository((models,))
        self.registry = Registry((self.backend,), self.repository)
        self.host = Host(engine, self.registry, DirectExecutor(), AppLimits())
        self.compiler = HereCompiler(engine)

    def grant(self, policy: PolicySettings) -> None:
        """Let the programs made from now on have what a policy grants."""
        self.host = replace(self.host, policy=policy)

    def program(self, wasm: bytes, manifest: str = "") -> Program:
        """Make a program of a guest and its app.toml."""
        parsed = parse_app_manifest(manifest.encode(), default_name="guest")
        return make_program(self.host, self.compiler.module(wasm), parsed)


def bundle(wasm: bytes, manifest: str | None = None) -> Bundle:
    """Make what a user drops."""
    return Bundle(wasm, None if manifest is None else manifest.encode())
