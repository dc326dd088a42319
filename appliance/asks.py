"""Tables of app.toml by which an app asks for what the box has: `[nn]`, `[folders]`, `[wasi]`.

    env_from = ["SITE"]                              # the operator's variables, by name

    [folders]                                        # where the guest sees them
    "/photos" = "photos"                             # to read
    "/results" = { name = "results", write = true }

    [nn]
    own_models = false

    [wasi]
    clock = false

Asking is not getting: the operator's policy must grant it, too (`trust.grants`). What is not said
is left to the policy.
"""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from appliance.fields import Name
from appliance.tables import Table
from wasi_nn.backend import Device, Encoding, Objective
from wasi_nn.tensor import Numbering

# A command guest finds its frame there.
FRAME_FOLDER = "/frame"
_MAX_PATH_LENGTH = 200


class NNOptions(Table):
    """What a guest may ask WASI-NN for; None allows all that the box has.

    own_models: whether it brings models as bytes; None leaves that to the policy.
    """

    encodings: frozenset[Encoding] | None = None
    devices: frozenset[Device] | None = None
    own_models: bool | None = None
    tensor_types: Numbering = Numbering.AUTO
    objective: Objective = Objective.THROUGHPUT


class WasiOptions(Table):
    """The `[wasi]` table: True asks for it, False forgoes it, None leaves it to the policy."""

    clock: bool | None = None
    random: bool | None = None


class FolderAsk(Table):
    """One of the operator's folders, by its name. write: also to change what is in it."""

    name: Name
    write: bool = False

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


def _check_guest_path(path: str) -> str:
    parts = path.split("/")[1:]
    is_plain = path.startswith("/") and all(part not in {"", ".", ".."} for part in parts)
    if not is_plain or not path.isprintable() or "\\" in path or len(path) > _MAX_PATH_LENGTH:
        raise ValueError('an absolute path as the guest sees it, such as "/photos"')
    if parts[0] == FRAME_FOLDER[1:]:
        raise ValueError(f"a path that does not begin with {FRAME_FOLDER}, where frames are")
    return path


GuestPath = Annotated[str, AfterValidator(_check_guest_path)]
Folders = Annotated[dict[GuestPath, FolderAsk], Field(max_length=16)]
