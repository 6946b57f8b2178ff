"""Recurrent binarization (BEBR): bits of a vector, then bits of the rest, several times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.extras import import_extra
from embplug.common.threads import single_torch_thread
from embplug.errors import DimensionError, InvalidArgumentError, LengthMismatchError, StateError
from embplug.methods.numeric.arrays import Codes, Float32, State, as_sample, as_vectors
from embplug.methods.numeric.balanced import LIMIT, BalancedBytes
from embplug.methods.numeric.contrast import batches, between, ranking_loss, signs
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray
from embplug.methods.transforms.pca import PCA
from embplug.methods.transforms.rotation import ITQRotation

BLOCK_ROWS = 4096
LAYERS = ("linear", "first", "first_bias", "second", "second_bias")
RIDGE = 1e-3
ROUNDING = np.float32(1e-5)
"""What float32 sums of numbers up to one may be off by. A bit asks for more, so that a difference of zero
has the same bit on every processor."""
DEFAULT_STEPS = 200
HELD_OUT = 10
"""One of so many vectors is not trained on, but tells whether the trained codes are better."""
COMPARED = 4096
"""Vectors among which it is measured how many of the ``BEST`` nearest are kept."""
BEST = 10

_Learned: TypeAlias = tuple[dict[str, dict[str, Float32]], Float32]
"""Layers of the networks, and the decoder."""


@register("recurrent_binary", roles=("dense_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class RecurrentBinaryQuantizer(Quantizer):
    """Quantizer that stores bits of a vector, then bits of what they cannot rebuild (BEBR).

    The code is ``b = sign(W(x))``, then ``levels`` times ``b += 2 ** -i * sign(R_i(x - norm(B_i(b))))``. W,
    B_i and R_i are a linear map plus a hidden layer. The linear maps start at a rotation that is learned for
    signs (ITQ).

    The published loss is a cross-entropy of cosines between the codes of a vector and of its noised copy.
    Here the target is the softmax of the exact cosines, because the scores of the other vectors are known.
    With ``queries="exact"``, the scores that are trained are those of exact queries with what codes rebuild.
    A tenth of the vectors is not trained on: where trained codes rank no better for them, the codes stay
    untrained.

    In a recipe, ``Dense(codes=..., signs=True)`` stores :meth:`signs` as the vector that finds candidates.
    All bits, in the payload, rank them. :meth:`balanced_levels` gives all bits as one uint8 vector that
    Qdrant ranks by.

    Parameters
    ----------
    dim_out : int, default=None
        Dimension of the codes. None takes that of the vectors.
    levels : int, default=1
        Number of rounds after the first bit, from 0 to 7.
    queries : {"exact", "codes"}, default="exact"
        ``"exact"`` compares exact queries with the vectors that codes rebuild by a linear map. ``"codes"``
        codes queries too and compares by cosine, as published. It is needed to search codes of an older
        model.
    hidden : int, default=256
        Width of the hidden layers.
    steps : int, default=None
        Number of training steps. None takes 200 if queries are coded or an older quantizer is passed, else 0.
    batch : int, default=256
        Number of vectors in a step.
    learning_rate : float, default=3e-4
        Learning rate of Adam.
    temperature : float, default=0.05
        Temperature of the softmax.
    noise : float, default=0.5
        Length of the noise of copies.
    seed : int, default=0
        Seed of the training.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="recurrent_binary"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    networks_ : dict of str to dict of str to ndarray
        Layers of W, B_i and R_i.
    decoder_ : ndarray of shape (dim_out + 1, dim), float32
        Linear map from codes to vectors. The last row is the offset.
    steps_ : int
        Number of training steps that were made. 0 if trained codes were not better.

    References
    ----------
    .. [1] Gan et al., "Binary Embedding-based Retrieval at Tencent", KDD 2023.
    """

    dim_out: int | None = Field(default=None, ge=1)
    levels: int = Field(default=1, ge=0, le=7)
    queries: Literal["exact", "codes"] = "exact"
    hidden: int = Field(default=256, ge=1)
    steps: int | None = Field(default=None, ge=0)
    batch: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=3e-4, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    noise: float = Field(default=0.5, ge=0)
    seed: int = Field(default=0, ge=0)
    kind: Literal["recurrent_binary"] = "recurrent_binary"

    has_signs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.networks_: dict[str, dict[str, Float32]] = {}
        self.decoder_: Float32 | None = None
        """(bits of a level + 1, dim): the last row is what is added."""
        self.steps_ = 0
        """Number of training steps that were made."""

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.decoder_ is None else int(self.decoder_.shape[1])

    @property
    def width(self) -> int:
        """Dimension of the codes."""
        self._check_fitted()
        assert self.decoder_ is not None
        return len(self.decoder_) - 1

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return packed_bytes([self.levels + 1] * (self.dim_out or dim))

    def fit(
        self,
        X: ArrayLike,
        queries: ArrayLike | None = None,
        *,
        older: RecurrentBinaryQuantizer | None = None,
        older_X: ArrayLike | None = None,
    ) -> Self:
        """Train the networks.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.
        queries : array-like of shape (m, dim), default=None
            Vectors of queries. None takes noised copies of documents.
        older : RecurrentBinaryQuantizer, default=None
            Fitted quantizer whose codes stay in the collection. The new codes learn to be compared with them
            (backward-compatible training). It may be of another model. Search such a collection with
            ``queries="codes"``.
        older_X : array-like of shape (n, dim_old), default=None
            Vectors of the same documents by the older model. None takes ``X``.

        Returns
        -------
        self

        Raises
        ------
        DimensionError
            The codes of ``older`` have another dimension.
        LengthMismatchError
            ``X`` is empty, or ``older_X`` has another number of rows.
        MissingExtraError
            PyTorch is not installed.
        """
        torch = import_extra("torch", "RecurrentBinaryQuantizer")
        sample = unit_rows(as_sample(X))
        count, dim = sample.shape
        width = self.dim_out or dim
        older_values = None
        if older is not None:
            older_sample = as_vectors(X if older_X is None else older_X, older.dim, "older_X")
            if len(older_sample) != count:
                raise LengthMismatchError("older_X", f"{count} rows, as X", len(older_sample))
            if older.width != width:
                raise DimensionError("older", f"codes of {width} dimensions", older.width)
            older_values = unit_rows(older._values(older._numbers(older_sample)))
        query_sample = None if queries is None else unit_rows(as_vectors(queries, dim, "queries"))
        steps = self._steps(older is not None)
        generator = np.random.default_rng(self.seed)
        networks = _start(torch, sample, width, self.levels, self.hidden, older_values, generator)
        start = self._learned(networks, sample)
        if steps:
            # Codes for an older version have to be trained; others have to be better than untrained ones.
            kept = np.zeros(count, dtype=bool)
            if older_values is None:
                kept[generator.permutation(count)[: count // HELD_OUT]] = True
            self._train(torch, networks, sample, ~kept, query_sample, older_values, steps, generator)
            trained = self._learned(networks, sample)
            if not kept.any() or self._is_better(trained, start, sample, kept, generator):
                start, self.steps_ = trained, steps
        self.networks_, self.decoder_ = start
        return self

    def _train(
        self,
        torch: Any,
        networks: dict[str, dict[str, Any]],
        sample: Float32,
        used: NDArray[np.bool_],
        queries: Float32 | None,
        older_values: Float32 | None,
        steps: int,
        generator: np.random.Generator,
    ) -> None:
        """Train the networks, in place, on the rows of the sample that are used."""
        own = sample[used]
        older_own = None if older_values is None else older_values[used]
        parameters = [tensor for network in networks.values() for tensor in network.values()]
        decoder = torch.tensor(_decoder(self._values(self._numbers(own)), own), requires_grad=True)
        if self.queries == "exact":
            parameters.append(decoder)
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        with single_torch_thread(torch):
            for rows in batches(own, self.batch, steps, True, generator):
                documents = own[rows]
                left = between(documents, self.noise, generator)
                if queries is not None and len(queries):
                    left = queries[
                        generator.choice(len(queries), min(len(queries), self.batch), replace=False)
                    ]
                exact = torch.from_numpy(left @ documents.T)
                both = torch.from_numpy(np.concatenate([left, documents]))
                values = _recur(torch, both, networks, self.levels)
                unit = torch.nn.functional.normalize(values, dim=1)
                coded_left, coded = unit[: len(left)], unit[len(left) :]
                if self.queries == "exact":
                    # What is compared in a search: the query as it is, and what a code rebuilds.
                    rebuilt = values[len(left) :] @ decoder[:-1] + decoder[-1]
                    coded_left, coded = both[: len(left)], torch.nn.functional.normalize(rebuilt, dim=1)
                loss = ranking_loss(coded_left @ coded.T, exact, self.temperature)
                if older_own is not None:
                    against = torch.from_numpy(older_own[rows])
                    loss = loss + ranking_loss(unit[: len(left)] @ against.T, exact, self.temperature)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _learned(self, networks: dict[str, dict[str, Any]], sample: Float32) -> _Learned:
        """Copies of the layers, and the decoder of their codes; both are set here too."""
        self.networks_ = {
            name: {layer: tensor.detach().numpy().copy() for layer, tensor in network.items()}
            for name, network in networks.items()
        }
        width = len(self.networks_["first"]["second"])
        self.decoder_ = np.zeros((width + 1, sample.shape[1]), dtype=np.float32)
        self.decoder_ = _decoder(self._values(self._numbers(sample)), sample)
        return self.networks_, self.decoder_

    def _is_better(
        self,
        trained: _Learned,
        start: _Learned,
        sample: Float32,
        kept: NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> bool:
        """Whether trained codes rank documents for vectors that were not trained on better than others do."""
        queries = between(sample[kept], self.noise, generator)
        documents = sample[generator.permutation(len(sample))[:COMPARED]]
        depth = min(BEST, len(documents))
        best = np.argpartition(-(queries @ documents.T), depth - 1, axis=1)[:, :depth]
        shares = []
        for self.networks_, self.decoder_ in (trained, start):
            scores = self.score(self.encode_query(queries), self.encode(documents)).T
            ranked = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            shares.append((best[:, :, None] == ranked[:, None]).any(axis=2).mean())
        return bool(shares[0] > shares[1])

    @override
    def check_vectors(self, dim: int, *, unit_length: bool) -> None:
        if not unit_length:
            raise InvalidArgumentError("distance", "Cosine, because these codes keep no lengths", "Dot")

    @override
    def signs_dim(self, dim: int) -> int:
        return self.dim_out or dim

    def levels_of(self, X: ArrayLike) -> NDArray[np.uint8]:
        """Compute all bits of each dimension as one number.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.

        Returns
        -------
        ndarray of shape (n, width), uint8
            The first bit is the highest.
        """
        return self._numbers(as_vectors(X, self.dim))

    @override
    def signs(self, X: ArrayLike) -> Float32:
        numbers = self._numbers(as_vectors(X, self.dim))
        first: Float32 = np.where(numbers >> self.levels, np.float32(1), np.float32(-1))
        return first

    @override
    def sign_queries(self, Q: ArrayLike) -> Float32:
        # With all their bits, or exact.
        queries = as_vectors(Q, self.dim, "Q")
        if self.queries == "codes":
            return self._values(self._numbers(queries))
        assert self.decoder_ is not None
        compared: Float32 = queries @ self.decoder_[:-1].T
        return compared

    def balanced_levels(self, X: ArrayLike) -> NDArray[np.uint8]:
        """Compute all bits as uint8 vectors whose dot products in Qdrant rank like those of signed vectors.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.

        Returns
        -------
        ndarray of shape (n, width + a few), uint8
        """
        values = self._values(self.levels_of(X))
        return self._balanced().documents(values)

    def balanced_queries(self, Q: ArrayLike) -> NDArray[np.uint8]:
        """Compute uint8 queries to compare with :meth:`balanced_levels`.

        Parameters
        ----------
        Q : array-like of shape (n, dim)
            Vectors of queries.

        Returns
        -------
        ndarray of shape (n, width + a few), uint8
        """
        return self._balanced().queries(self.sign_queries(Q))

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        width: int | str = self.dim_out or "dim"
        layers: dict[str, StoredArray] = {}
        for name in _names(self.levels):
            inputs, outputs = (width, "dim") if name.startswith("rebuild") else ("dim", width)
            shapes = (
                (outputs, inputs),
                (self.hidden, inputs),
                (self.hidden,),
                (outputs, self.hidden),
                (outputs,),
            )
            layers |= {
                f"{name}.{layer}": StoredArray(np.float32, shape)
                for layer, shape in zip(LAYERS, shapes, strict=True)
            }
        return {
            "decoder": StoredArray(np.float32, ("width and one", "dim")),
            "steps": StoredArray(np.int64),
            **layers,
        }

    def _check_arrays(self, arrays: State) -> None:
        rows = 1 + len(arrays["first.second_bias"])
        if len(arrays["decoder"]) != rows:
            got = len(arrays["decoder"])
            raise StateError(f"state 'decoder' of RecurrentBinaryQuantizer: expected {rows} rows, got {got}")

    def _to_arrays(self) -> State:
        assert self.decoder_ is not None
        layers = {
            f"{name}.{layer}": array
            for name, network in self.networks_.items()
            for layer, array in network.items()
        }
        return {"decoder": self.decoder_, "steps": np.array(self.steps_), **layers}

    def _from_arrays(self, arrays: State) -> None:
        self.networks_ = {
            name: {layer: arrays[f"{name}.{layer}"] for layer in LAYERS} for name in _names(self.levels)
        }
        self.decoder_, self.steps_ = arrays["decoder"], int(arrays["steps"])

    def _encode(self, vectors: Float32) -> Codes:
        return pack(self._numbers(vectors), [self.levels + 1] * self.width)

    def _decode(self, codes: Codes) -> Float32:
        values = self._values(self._unpacked(codes))
        assert self.decoder_ is not None
        return unit_rows(values @ self.decoder_[:-1] + self.decoder_[-1])

    def _prepare(self, query: Float32) -> Float32:
        """Queries (t, dim), or values of their codes (t, width)."""
        return query if self.queries == "exact" else unit_rows(self._values(self._numbers(query)))

    def _score(self, parts: Float32, codes: Codes) -> Float32:
        """Dot products with what the codes rebuild, or cosines of codes."""
        numbers = self._unpacked(codes)
        scores = np.empty((len(numbers), len(parts)), dtype=np.float32)
        assert self.decoder_ is not None
        for start in range(0, len(numbers), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            values = self._values(numbers[rows])
            if self.queries == "exact":
                values = values @ self.decoder_[:-1] + self.decoder_[-1]
            scores[rows] = unit_rows(values) @ parts.T
        return scores

    @property
    def _exact_queries(self) -> bool:
        return self.queries == "exact"

    def _bits(self, dim: int, size: float) -> float:
        return float((self.levels + 1) * self.width)

    def _fit_cost(self) -> str:
        return f"{self.steps_} steps on batches of {self.batch}, {1 + 2 * self.levels} networks each"

    def _notes(self) -> list[str]:
        return ["lengths are not kept: all vectors count as unit vectors"]

    def _steps(self, older: bool) -> int:
        if self.steps is not None:
            return self.steps
        return DEFAULT_STEPS if older or self.queries == "codes" else 0

    def _numbers(self, vectors: Float32) -> NDArray[np.uint8]:
        """Levels uint8 (n, width), without PyTorch."""
        vectors = unit_rows(vectors)
        width = len(self.networks_["first"]["second"])
        numbers = np.empty((len(vectors), width), dtype=np.uint8)
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = vectors[start : start + BLOCK_ROWS]
            bits = (_apply(self.networks_["first"], block) > ROUNDING).astype(np.uint8)
            for level in range(self.levels):
                levels_so_far = (2.0 * bits - (2 ** (level + 1) - 1)) / 2**level
                rebuilt = unit_rows(
                    _apply(self.networks_[f"rebuild{level}"], levels_so_far.astype(np.float32))
                )
                more = _apply(self.networks_[f"residual{level}"], block - rebuilt) > ROUNDING
                bits = 2 * bits + more.astype(np.uint8)
            numbers[start : start + BLOCK_ROWS] = bits
        return numbers

    def _values(self, numbers: NDArray[np.uint8]) -> Float32:
        """Values of levels: sums of signs, each half as large as the sign before."""
        values: Float32 = np.float32(2.0**-self.levels) * (
            2 * numbers.astype(np.float32) - (2 ** (self.levels + 1) - 1)
        )
        return values

    def _balanced(self) -> BalancedBytes:
        # Levels are odd multiples of the last sign, so at this scale they are whole numbers.
        return BalancedBytes(self.width, float(min(2**self.levels, LIMIT // 2)))

    def _unpacked(self, codes: Codes) -> NDArray[np.uint8]:
        return unpack(codes, [self.levels + 1] * self.width)


def _names(levels: int) -> list[str]:
    return ["first", *(f"{part}{level}" for level in range(levels) for part in ("rebuild", "residual"))]


def _start(
    torch: Any,
    sample: Float32,
    width: int,
    levels: int,
    hidden: int,
    older: Float32 | None,
    generator: np.random.Generator,
) -> dict[str, dict[str, Any]]:
    """Networks whose hidden layers add nothing yet, and whose linear maps are those of signs after ITQ.

    With codes of an older version the linear map is the one that predicts those best.
    """
    dim = sample.shape[1]
    kept = min(width, dim)
    components = PCA(kept, center="none").fit(sample).components_
    assert components is not None
    projected = sample @ components.T
    seed = int(generator.integers(1 << 30))
    itq = ITQRotation(iterations=20, seed=seed).fit(projected).rotation_
    assert itq is not None
    base = itq @ components
    if width > kept:
        more = generator.standard_normal((width - kept, dim)) / np.sqrt(dim)
        base = np.concatenate([base, more])
    if older is not None:
        base = np.linalg.lstsq(sample.astype(np.float64), older.astype(np.float64), rcond=1e-3)[0].T
    base = (base / (np.sqrt(np.square(sample @ base.T).mean()) or 1.0)).astype(np.float32)
    networks = {"first": _network(torch, base, np.zeros(width), hidden, generator)}
    values = np.where(sample @ base.T > 0, np.float32(1), np.float32(-1))
    for level in range(levels):
        decoder = _decoder(values, sample)
        networks[f"rebuild{level}"] = _network(torch, decoder[:-1].T, decoder[-1], hidden, generator)
        networks[f"residual{level}"] = _network(torch, base, np.zeros(width), hidden, generator)
        left = sample - unit_rows(values @ decoder[:-1] + decoder[-1])
        values += np.float32(2.0 ** -(level + 1)) * np.where(left @ base.T > 0, np.float32(1), np.float32(-1))
    return networks


def _network(
    torch: Any, linear: NDArray[Any], bias: NDArray[Any], hidden: int, generator: np.random.Generator
) -> dict[str, Any]:
    outputs, inputs = linear.shape
    first = generator.standard_normal((hidden, inputs)) / np.sqrt(inputs)
    arrays = (linear, first, np.zeros(hidden), np.zeros((outputs, hidden)), bias)
    return {
        layer: torch.tensor(array.astype(np.float32), requires_grad=True)
        for layer, array in zip(LAYERS, arrays, strict=True)
    }


def _recur(torch: Any, vectors: Any, networks: dict[str, dict[str, Any]], levels: int) -> Any:
    """The same as ``_numbers`` then ``_values``, with gradients."""
    values = signs(_apply(networks["first"], vectors, torch.relu))
    for level in range(levels):
        rebuilt = _apply(networks[f"rebuild{level}"], values, torch.relu)
        rebuilt = torch.nn.functional.normalize(rebuilt, dim=1)
        left = _apply(networks[f"residual{level}"], vectors - rebuilt, torch.relu)
        values = values + 2.0 ** -(level + 1) * signs(left)
    return values


def _apply(network: dict[str, Any], vectors: Any, relu: Any = lambda values: np.maximum(values, 0)) -> Any:
    hidden = relu(vectors @ network["first"].T + network["first_bias"])
    return vectors @ network["linear"].T + hidden @ network["second"].T + network["second_bias"]


def _decoder(values: Float32, sample: Float32) -> Float32:
    """Ridge regression from codes to vectors."""
    inputs = np.column_stack([values, np.ones(len(values))]).astype(np.float64)
    gram = inputs.T @ inputs
    gram[np.diag_indices_from(gram)] += RIDGE * len(values)
    solved: Float32 = np.linalg.solve(gram, inputs.T @ sample).astype(np.float32)
    return solved
