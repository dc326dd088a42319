"""What all shapes are: frozen, so that a program may share and keep an answer."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Something that travels over the socket."""

    model_config = ConfigDict(frozen=True)
