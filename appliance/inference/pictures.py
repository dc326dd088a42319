"""Encoded pictures as a model's input: which inputs take them, and how they become a batch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadPicture, BadRequest
from appliance.manifests import ModelPackage
from appliance.preprocess import InputSpec, Layout, tensor_shape, to_tensor
from wasi_nn.registry import GraphReference
from wasi_nn.tensor import Array

Decode = Callable[[bytes], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class PictureInput:
    """An input that a picture can become, by the model's manifest."""

    spec: InputSpec
    layout: Layout

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """Of the tensor of one picture."""
        return tensor_shape(self.spec, self.layout)


def picture_inputs(
    package: ModelPackage, reference: GraphReference
) -> tuple[PictureInput | None, ...]:
    """Tell for each input of a graph how a picture becomes it; None if nothing says so."""
    files = package.manifest.files_for(reference.encoding)
    layout = Layout.NCHW if files is None else files.image_layout
    found: list[PictureInput | None] = []
    for index, spec in enumerate(reference.graph.inputs):
        picture = None
        if index < len(package.manifest.inputs):
            picture = PictureInput(package.manifest.inputs[index], layout)
            fits = picture.spec.type is spec.type and len(spec.shape) == 4
            # The batch is the request's; a fixed batch above 1 takes as many pictures.
            if not fits or not spec.accepts((spec.shape[0] or 1, *picture.dims[1:])):
                picture = None
        found.append(picture)
    return tuple(found)


def batch_of(
    encoded: Sequence[bytes], target: PictureInput, decode: Decode, *, max_bytes: int
) -> Array:
    """Decode pictures and put them into one tensor.

    decode: gives uint8 (H, W, 3), RGB; raises BadPicture.   max_bytes: of the tensor.
    Returns: the input's storage dtype, its dims with the number of pictures in front.
    Raises: BadPicture saying which; BadRequest if the tensor would be too large.
    """
    dims = (len(encoded), *target.dims[1:])
    wanted_bytes = math.prod(dims) * target.spec.type.itemsize
    if wanted_bytes > max_bytes:
        raise BadRequest(
            f"batch: {len(encoded)} pictures make a tensor of {wanted_bytes} bytes, wanted at most "
            f"{max_bytes}; send fewer at once"
        )
    batch = np.empty(dims, target.spec.type.storage)
    for index, picture in enumerate(encoded):
        try:
            pixels = decode(picture)
        except BadPicture as exc:
            if len(encoded) == 1:
                raise
            raise BadPicture(f"{exc} (element {index} of {len(encoded)})") from exc
        to_tensor(pixels, target.spec, target.layout, out=batch[index : index + 1])
    return batch
