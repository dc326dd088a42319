"""What travels is frozen, whichever side has it."""

import importlib
import inspect
import pkgutil

from pydantic import BaseModel

from appliance.api import shapes


def test_every_shape_is_frozen() -> None:
    """A program may share and keep an answer; a route builds it in one go."""
    modules = [
        importlib.import_module(f"{shapes.__name__}.{found.name}")
        for found in pkgutil.iter_modules(shapes.__path__)
    ]
    found = {
        shape
        for module in modules
        for _, shape in inspect.getmembers(module, inspect.isclass)
        if issubclass(shape, BaseModel) and shape is not BaseModel
    }

    assert len(found) > 30
    assert [] == [shape.__name__ for shape in found if not shape.model_config.get("frozen")]
