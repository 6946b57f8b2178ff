"""Dense vectors in a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import InvalidArgumentError, RecipeError
from embplug.recipe.methods import DenseCodes, Transform
from embplug.recipe.part import Storage
from embplug.recipe.presets import Features, Preset, dense_storage


class Dense(Storage):
    """A named dense vector of each document.

    ``quantization``, ``on_disk`` and ``hnsw`` apply to the vector that Qdrant searches first.

    Attributes
    ----------
    quantization : models.QuantizationConfig, default=None
        Quantization of the vectors: scalar, product, binary or turbo. None stores no quantized vectors.
    on_disk : bool, default=None
        Whether the original vectors are kept on disk. None is Qdrant's default, which is memory.
    hnsw : models.HnswConfigDiff, default=None
        Parameters of the HNSW graph. ``HnswConfigDiff(m=0)`` builds no graph. None is Qdrant's default.
    dim : int
        Dimension of the vectors that the user or the encoder passes. The dimension of the stored vectors is
        that of the last transform.
    preset : {"small", "balanced", "exact"}, default=None
        Chooses ``datatype``, ``quantization`` and ``on_disk`` where they are None. The stored recipe names
        what was chosen. None leaves them to Qdrant.

        - ``"small"`` keeps one bit a dimension in memory, and the vector on disk, as turbo4 where the engine
          has this datatype, else as float16.
        - ``"balanced"`` keeps two bits a dimension in memory, and the vector on disk as float16.
        - ``"exact"`` keeps the vector in memory as float16.

        The bits are TurboQuant's where the engine has it, else binary. They find four times as many hits as
        are asked for, and the vectors on disk rank them; see ``Rerank.oversampling``.
    distance : models.Distance, default=models.Distance.COSINE
        Qdrant's distance. With transforms or codes it is Cosine or Dot. For Cosine, vectors are then scaled
        to unit length before the first transform.
    datatype : models.Datatype, default=None
        Datatype of the stored vectors. None is Qdrant's default, which is float32. ``uint8`` only holds
        whole numbers from 0 to 255; other vectors are refused.
    transforms : tuple of transforms, default=()
        Transforms that are applied in order to documents before they are stored, and to queries. Transforms
        that are not fitted are fitted on the sample, or else on the first documents.
    funnel : tuple of int, default=()
        Rising dimensions of prefixes that are stored as vectors of their own. The shortest prefix finds
        candidates in its HNSW graph, each longer prefix keeps half of them, and the full vector ranks the
        rest. All stages are nested prefetches of one request.
    keep_original : {"disk"}, default=None
        ``"disk"`` also stores the vectors before the transforms, on disk and without a graph. They rerank the
        candidates in the same request. None does not store them.
    codes : quantizer, default=None
        Quantizer of the vectors before the transforms. For Cosine they are scaled to unit length first. The
        codes are stored in the payload, come back with the candidates in the same request, and rerank them in
        this process. Their scores approximate the cosine or dot product. An exact search uses them only with
        ``transforms`` or ``signs``; otherwise it compares the stored vectors.
    signs : bool, default=False
        Whether the first bits of the codes of a :class:`~embplug.methods.RecurrentBinaryQuantizer` are stored
        as a vector of -1 and 1, in place of the vector itself, to find candidates. Qdrant's binary
        quantization loses nothing of such a vector, so that its original can be kept on disk.

    References
    ----------
    .. [1] Kusupati et al., "Matryoshka Representation Learning", 2022, for ``funnel``.

    Examples
    --------
    >>> from embplug import Dense, Recipe
    >>> from embplug.methods import PCA
    >>> Dense(dim=384, transforms=(PCA(96),)).stored_dim
    96
    """

    dim: int = Field(ge=1, le=65536)
    preset: Preset | None = None
    distance: models.Distance = models.Distance.COSINE
    datatype: models.Datatype | None = None
    transforms: tuple[Transform, ...] = ()
    funnel: tuple[Annotated[int, Field(ge=1)], ...] = ()
    keep_original: Literal["disk"] | None = None
    codes: DenseCodes | None = None
    signs: bool = False

    @property
    def stored_dim(self) -> int:
        """Dimension of the stored vector: that after the transforms, or that of the signs."""
        if self.signs and self.codes is not None and self.codes.has_signs:
            return self.codes.signs_dim(self.dim)
        dim = self.dim
        for transform in self.transforms:
            dim = transform.output_dim(dim)
        return dim

    @property
    def stored_distance(self) -> models.Distance:
        """Qdrant's distance for the stored vector."""
        if self.signs:
            return models.Distance.DOT
        if not self.transforms:
            return self.distance
        return models.Distance.COSINE if self.transforms[-1].unit_length else models.Distance.DOT

    @property
    def code_bytes(self) -> float:
        """Size of the codes of a vector in bytes, also before they are fitted; 0 without codes."""
        if self.codes is None:
            return 0.0
        unit_length = self.distance == models.Distance.COSINE
        return self.codes.bytes_per_vector(self.dim, unit_length=unit_length)

    def decided(self, features: Features | None = None) -> Self:
        """Return a copy in which the preset has decided how the vector is stored, where that is left open.

        Parameters
        ----------
        features : Features, default=None
            What the engine can do. None is an engine that can do no more than any engine.

        Returns
        -------
        Dense
        """
        if self.preset is None:
            return self
        storage = dense_storage(self.preset, features)
        return self.model_copy(
            update={key: value for key, value in storage.items() if getattr(self, key) is None}
        )

    def decided_like(self, stored: Dense) -> Self:
        """Return a copy in which what the preset would decide is as in another recipe.

        Parameters
        ----------
        stored : Dense
            The other recipe.

        Returns
        -------
        Dense
        """
        if self.preset is None:
            return self
        left_open = [name for name in ("datatype", "on_disk", "quantization") if getattr(self, name) is None]
        return self.model_copy(update={name: getattr(stored, name) for name in left_open})

    def unfitted(self) -> Self:
        """Return a copy whose transforms and codes are not fitted."""
        transforms = tuple(transform.unfitted() for transform in self.transforms)
        codes = None if self.codes is None else self.codes.unfitted()
        return self.model_copy(update={"transforms": transforms, "codes": codes})

    def stored_names(self, name: str) -> list[str]:
        """Return the names in Qdrant of all vectors that are stored for the vector ``name``.

        Parameters
        ----------
        name : str
            Name of the vector.

        Returns
        -------
        list of str
            Names of the prefixes, of the vector and of the original, in the order in which they are searched.
        """
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
            expected = "at least one transform, because without transforms the original is stored"
            raise RecipeError("keep_original", expected, "none")
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
