"""Base of all methods: parameters, learned arrays, and a description of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embplug.errors import NotFittedError
from embplug.methods.numeric.arrays import State, state_bytes
from embplug.methods.stored import StoredArray, checked_state


@dataclass(frozen=True)
class Description:
    """Cost and behaviour of a method.

    Attributes
    ----------
    method : str
        The ``kind`` of the method.
    dim : int or None
        Dimension of the input vectors. ``None`` if the method takes any dimension.
    output_dim : int or None
        Dimension of the result. ``None`` if the result is a code, or if ``dim`` is unknown.
    code_bytes : int or None
        Bytes of the result for one vector, rounded up. ``None`` if ``dim`` is unknown.
    bits : float or None
        Bits of the result that carry information. The rest of ``code_bytes`` is padding.
    state_bytes : int
        Bytes of the learned arrays. They are stored once for all vectors.
    exact_queries : bool
        Whether queries are compared as they are. If False, queries are quantized too.
    order : str
        When the dot products of results rank like those of the input.
    fit_cost : str
        What ``fit`` computes, and what its time grows with.
    notes : tuple of str
        Differences from the parameters, such as fewer centroids than requested.
    scored_by : str or None
        What computes the scores of codes in this process: an instruction set of the compiled kernel, such
        as ``"avx2"``, or ``"numpy"``. ``None`` if the result is not a code.
    """

    method: str
    dim: int | None
    output_dim: int | None
    code_bytes: int | None
    bits: float | None
    state_bytes: int
    exact_queries: bool
    order: str
    fit_cost: str
    notes: tuple[str, ...] = ()
    scored_by: str | None = None

    @property
    def ratio(self) -> float | None:
        """How many times smaller the result is than one float32 vector of dimension ``dim``."""
        return None if self.dim is None or self.code_bytes is None else 4 * self.dim / self.code_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON types.

        Returns
        -------
        dict
            All attributes and ``ratio``.
        """
        return {**asdict(self), "notes": list(self.notes), "ratio": self.ratio}


class Method:
    """Base of everything that has parameters and may learn from data.

    A subclass is a pydantic dataclass whose fields are its parameters, and ``kind`` names it in a recipe.
    The constructor only keeps the parameters, ``fit`` sets the learned attributes, whose names end in
    ``_``, and no other function changes them.

    A subclass that learns gives :attr:`fitted_dim` and ``_arrays``, and sets its learned attributes to
    None in ``__post_init__``. Everything else has a default here.
    """

    kind: str

    _order: ClassVar[str] = "changed by the error of the codes"

    def __post_init__(self) -> None:
        """Set the learned attributes to nothing."""

    @property
    def fitted(self) -> bool:
        """Whether the method can be used: it has learned, or it has nothing to learn."""
        return not self._learns or self.fitted_dim is not None

    @property
    def fitted_dim(self) -> int | None:
        """Dimension of the vectors that the method has learned from. ``None`` if it has not."""
        return None

    def get_state(self) -> State:
        """Return the learned arrays.

        Returns
        -------
        dict of str to array
            Empty before ``fit``, and if the method has nothing to learn.
        """
        return {} if self.fitted_dim is None else self._to_arrays()

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the learned arrays that :meth:`get_state` returned.

        Parameters
        ----------
        state : dict of str to array
            An empty state is that of a method before ``fit``.

        Raises
        ------
        StateError
            An array is missing, unknown, of another type or shape, or holds values that the method never
            learns. The error names the array.
        """
        arrays = checked_state(type(self).__name__, state, self._arrays(state)) if state else {}
        if arrays:
            self._check_arrays(arrays)
        self.__post_init__()
        if arrays:
            self._from_arrays(arrays)

    def describe(self, dim: int | None = None) -> Description:
        """Describe what the method costs and what it does.

        Parameters
        ----------
        dim : int, default=None
            Dimension of the vectors, for a method that has learned nothing and so takes any.

        Returns
        -------
        Description

        Raises
        ------
        NotFittedError
            The method learns from data, and :meth:`fit` was not called.
        """
        self._check_fitted()
        dim = self.fitted_dim or dim
        size = None if dim is None else self.bytes_per_vector(dim)
        return Description(
            method=self.kind,
            dim=dim,
            output_dim=self._described_dim(dim),
            code_bytes=None if size is None else math.ceil(size),
            bits=None if dim is None or size is None else self._bits(dim, size),
            state_bytes=state_bytes(self.get_state()),
            exact_queries=self._exact_queries,
            order=self._order,
            fit_cost=self._fit_cost(),
            notes=tuple(self._notes()),
            scored_by=self._scored_by(),
        )

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Bytes of the result for one vector. It can be called before ``fit``.

        Parameters
        ----------
        dim : int
            Dimension of the vectors.
        unit_length : bool, default=False
            Whether all vectors have length 1, so that no code has to keep it. Only used before ``fit``.

        Returns
        -------
        float
            The exact size, or the mean size if the sizes of vectors differ.
        """
        return 4 * dim

    def least_sample(self, dim: int) -> int:
        """Smallest number of vectors or tokens from which ``fit`` learns well.

        Collections warn when a method is fitted on fewer. The default is one for each dimension.

        Parameters
        ----------
        dim : int
            Dimension of the vectors.

        Returns
        -------
        int
            0 if the method has nothing to learn.
        """
        return dim if self._learns else 0

    @classmethod
    def trials(cls, dim: int) -> dict[str, Self]:
        """Return parameters that are worth a trial by the advisor, by the names of the trials.

        Parameters
        ----------
        dim : int
            Dimension of the vectors.

        Returns
        -------
        dict of str to Method
            Empty by default: the advisor does not try the method.
        """
        return {}

    def unfitted(self) -> Self:
        """Return a new method with the same parameters that has learned nothing.

        Returns
        -------
        Method
        """
        parameters: Any = self
        names = (field.name for field in fields(parameters))
        return type(self)(**{name: getattr(self, name) for name in names})

    # What a subclass overrides.

    @property
    def _learns(self) -> bool:
        """Whether ``fit`` learns from data."""
        return True

    @property
    def _exact_queries(self) -> bool:
        """Whether queries are compared as they are."""
        return True

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        """Names, types and shapes of the stored arrays; ``state`` may tell sizes."""
        return {}

    def _check_arrays(self, arrays: State) -> None:
        """Raise StateError for arrays that contradict each other; each alone is checked already."""

    def _to_arrays(self) -> State:
        """Learned arrays by name; the default takes the attribute ``name_`` for each ``name``."""
        return {
            name: np.asarray(getattr(self, f"{name}_"), dtype=array.dtype)
            for name, array in self._arrays({}).items()
        }

    def _from_arrays(self, arrays: State) -> None:
        """Undo :meth:`_to_arrays`, with arrays that are checked."""
        for name, array in self._arrays(arrays).items():
            setattr(self, f"{name}_", array.in_memory(arrays[name]))

    def _described_dim(self, dim: int | None) -> int | None:
        """Dimension of the results for vectors of dimension ``dim``."""
        return None

    def _bits(self, dim: int, size: float) -> float:
        """Bits that carry information, of ``size`` bytes."""
        return 8.0 * size

    def _fit_cost(self) -> str:
        """Describe in words what ``fit`` computes."""
        return "none"

    def _scored_by(self) -> str | None:
        """What computes the scores of codes in this process."""
        return None

    def _notes(self) -> list[str]:
        """List the differences from the parameters."""
        return []

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise NotFittedError(f"{type(self).__name__} learns from data: call fit first")
