"""What a collection remembers of the models that make its dense vectors."""

from __future__ import annotations

from pydantic import Field

from embplug.recipe.methods import Adapter
from embplug.recipe.part import Part


class PreviousModel(Part):
    """The vectors of the previous model, of documents that the new model has not embedded yet.

    Attributes
    ----------
    dim : int
        Dimension of these vectors as they are stored.
    stored_as : str
        Their name in Qdrant.
    adapter : Adapter
        Maps a query of the new model to where the previous model would have put it.
    factor, offset : float, default=1.0 and 0.0
        ``factor * score + offset`` brings a score of these vectors to the scale of the new model's
        scores, after the adapter's missing part was added.
    """

    dim: int = Field(ge=1, le=65536)
    stored_as: str = Field(min_length=1)
    adapter: Adapter
    factor: float = 1.0
    offset: float = 0.0


class VectorVersion(Part):
    """Which model makes a dense vector, and under which name Qdrant stores it.

    Attributes
    ----------
    model : int, default=1
        Version of the model. An upgrade adds 1.
    stored_as : str, default=None
        Name of the vector in Qdrant, where it is another than in the recipe.
    previous : PreviousModel, default=None
        What is left of the previous model while an upgrade is under way.
    """

    model: int = Field(1, ge=1)
    stored_as: str | None = None
    previous: PreviousModel | None = None


def vector_name_of(name: str, model: int) -> str:
    """Return the name in Qdrant of a vector of a later model, whose dimension is another."""
    return f"{name}_v{model}"
