"""Dense vectors in a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import InvalidArgumentError, RecipeError
from embplug.recipe.methods import DenseCodes, Transform
from embplug.recipe.part import Storage


class Dense(Storage):
    """One vector per document.

    Attributes
    ----------
    dim
        Dimension of the vectors that are given; what is stored has that of the last transform.
    distance
        Qdrant's distance. With transforms, cosine or dot product: for the cosine, vectors are brought
        to unit length first, and the dot products of what the transforms make are compared.
    datatype
        Of the stored vectors; Qdrant's default is float32. ``uint8`` is for vectors of whole numbers
        from 0 to 255, as some models make them; others are refused.
    transforms
        Applied in order before storing, and to queries. What learns from data learns from the sample,
        or from the first documents; what has learned already is taken as it is.
    funnel
        Dimensions, rising, of prefixes that are stored beside the vector: the shortest finds
        candidates in its graph, each longer one keeps half of them, the vector itself ranks the rest.
    keep_original
        ``disk``: also store the vectors as given, on disk, without a graph. They rank the candidates
        anew in the same request.
    codes
        Codes of the vectors as given, before the transforms and for the cosine at unit length: they ride
        in the payload, come back with the candidates in the same request, and rank them anew in this
        process. Their scores stand for the cosine or dot product itself. An exact search uses them only
        where the vectors as given are not stored.
    signs
        Store, in place of the vectors, the first bits of a :class:`RecurrentBinaryQuantizer`'s codes as -1
        and 1, which find the candidates. Binary quantization keeps all of them: with it, the numbers
        themselves may lie on disk.
    """

    dim: int = Field(ge=1, le=65536)
    distance: models.Distance = models.Distance.COSINE
    datatype: models.Datatype | None = None
    transforms: tuple[Transform, ...] = ()
    funnel: tuple[Annotated[int, Field(ge=1)], ...] = ()
    keep_original: Literal["disk"] | None = None
    codes: DenseCodes | None = None
    signs: bool = False

    @property
    def stored_dim(self) -> int:
        """Dimension after the transforms, or of the signs."""
        if self.signs and self.codes is not None and self.codes.has_signs:
            return self.codes.signs_dim(self.dim)
        dim = self.dim
        for transform in self.transforms:
            dim = transform.output_dim(dim)
        return dim

    @property
    def stored_distance(self) -> models.Distance:
        """Qdrant's distance of what is stored after the transforms."""
        if self.signs:
            return models.Distance.DOT
        if not self.transforms:
            return self.distance
        return models.Distance.COSINE if self.transforms[-1].unit_length else models.Distance.DOT

    @property
    def code_bytes(self) -> float:
        """Bytes of the codes of one vector, also before they are fitted; 0 without codes."""
        if self.codes is None:
            return 0.0
        unit_length = self.distance == models.Distance.COSINE
        return self.codes.bytes_per_vector(self.dim, unit_length=unit_length)

    def unfitted(self) -> Self:
        """The same without what its methods have learned."""
        transforms = tuple(transform.unfitted() for transform in self.transforms)
        codes = None if self.codes is None else self.codes.unfitted()
        return self.model_copy(update={"transforms": transforms, "codes": codes})

    def stored_names(self, name: str) -> list[str]:
        """Names in Qdrant of what is stored for the vector ``name``, coarsest first."""
        prefixes = [f"{name}_{dim}" for dim in self.funnel]
        return [*prefixes, name, *([f"{name}_original"] if self.keep_original else [])]

    @model_validator(mode="after")
    def _can_be_transformed(self) -> Self:
        try:
            stored = self.stored_dim
        except InvalidArgumentError as error:
            raise RecipeError("transforms", error.expected, error.got) from None
        dim = self.dim
        for place, transform in enumerate(self.transforms):
            if transform.fitted_dim not in (None, dim):
                raise RecipeError(f"transforms.{place}", f"fitted on {dim} dimensions", transform.fitted_dim)
            dim = transform.output_dim(dim)
        if self.transforms and self.distance not in (models.Distance.COSINE, models.Distance.DOT):
            raise RecipeError("distance", "Cosine or Dot, which transforms keep", self.distance.value)
        if self.datatype == models.Datatype.UINT8 and (self.transforms or self.signs):
            expected = "float32, float16, or scalar quantization: what is stored is not whole numbers"
            raise RecipeError("datatype", expected, "uint8")
        if list(self.funnel) != sorted({*self.funnel}) or (self.funnel and self.funnel[-1] >= stored):
            raise RecipeError("funnel", f"rising dimensions below {stored}", list(self.funnel))
        if self.keep_original and not self.transforms:
            raise RecipeError("keep_original", "transforms: without any the original is stored", "none")
        return self

    @model_validator(mode="after")
    def _can_be_coded(self) -> Self:
        codes = self.codes
        if self.signs and not (codes is not None and codes.has_signs):
            raise RecipeError("signs", "codes of the kind recurrent_binary, whose first bits they are", None)
        if self.signs and (self.transforms or self.funnel):
            part = "transforms" if self.transforms else "funnel"
            raise RecipeError(part, "none, because signs are stored", "some")
        if codes is None:
            return self
        if self.keep_original:
            raise RecipeError("codes", "none, because the original ranks the candidates", codes.kind)
        if self.distance not in (models.Distance.COSINE, models.Distance.DOT):
            raise RecipeError("distance", "Cosine or Dot, which codes keep", self.distance.value)
        try:
            codes.check_vectors(self.dim, unit_length=self.distance == models.Distance.COSINE)
        except InvalidArgumentError as error:
            field = error.argument if error.argument == "distance" else f"codes.{error.argument}"
            raise RecipeError(field, error.expected, error.got) from None
        if codes.fitted_dim not in (None, self.dim):
            raise RecipeError("codes", f"fitted on vectors of {self.dim} dimensions", codes.fitted_dim)
        return self
