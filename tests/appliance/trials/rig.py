"""Trials over a folder, with fake models and guests that are compiled in this process."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from appliance.bundles import Bundle
from appliance.guests.engine import GuestEngine
from appliance.manifests import parse_app_manifest
from appliance.policies import PolicySettings
from appliance.settings import AppLimits
from appliance.trials.book import Trial
from appliance.trials.model import ModelTrial
from appliance.trials.trials import Surroundings, TrialBounds, Trials
from tests.appliance.workshop import MODEL_TOML, HereCompiler, fake_model, put_model

# Of 4 by 2 pixels, all 41: `MODEL_TOML` makes (41 - 1) / 4 = 10 of the first channel.
POISON = 10.0


def uniform_png(value: int = 41) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (4, 2), (value, value, value)).save(packed, "PNG")
    return packed.getvalue()


class Rig:
    """stages: what the last trial of an app went through; [] if it was not tried."""

    def __init__(
        self, engine: GuestEngine, folder: Path, bounds: TrialBounds | None = None,
        limits: AppLimits | None = None, policy: PolicySettings | None = None,
    ) -> None:  # fmt: skip
        self.models = folder / "models"
        self.stages: list[str] = []
        place = Surroundings(
            (self.models,),
            ("fake",),
            folder,
            limits or AppLimits(),
            max_pixels=1_000_000,
            policy=policy or PolicySettings(),
        )
        self.trials = Trials(
            place, HereCompiler(engine), engine, folder / "trials.json", bounds,  # type: ignore[arg-type]
        )  # fmt: skip

    def app(
        self, wasm: bytes, toml: str = "", files: Mapping[str, bytes] | None = None,
        on_show: Callable[[], None] = lambda: None,
    ) -> Trial:  # fmt: skip
        """Try an app. on_show: called when it is about to be shown a picture."""
        self.stages = []

        def on_stage(stage: str) -> None:
            self.stages.append(stage)
            if stage == "show":
                on_show()

        bundle = Bundle(wasm, toml.encode(), files=files or {})
        manifest = parse_app_manifest(toml.encode(), default_name="cat")
        return self.trials.app(bundle, manifest, on_stage)

    def put_model(self, **rest: object) -> Path:
        return put_model(self.models, **rest)

    def model(self, folder: Path, label: str | None = None, **rest: object) -> ModelTrial:
        """Try a model with a sample. folder: is made."""
        folder.mkdir(parents=True)
        said = "" if label is None else f'label = "{label}"\n'
        toml = MODEL_TOML + f'[sample]\npicture = "s.png"\n{said}'.encode()
        files = {
            "model.toml": toml, "model.onnx": fake_model(**rest), "s.png": uniform_png(),
            "labels.txt": b"\n".join(b"class %d" % number for number in range(24)),
        }  # fmt: skip
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return self.trials.model(folder, "tiny", "1")
