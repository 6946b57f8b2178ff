"""Predictive codes: tokens are predicted from earlier tokens, and the rest is coded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.threads import single_blas_thread
from embplug.errors import DimensionError, EmptyTokensError, InvalidArgumentError, StateError
from embplug.methods.kernels import Kernel, in_use, load
from embplug.methods.kernels.bases import RoundedRows
from embplug.methods.kernels.lookups import (
    PredictiveClasses,
    TokenTerms,
    maxsim_of_tiles,
    predictive_maxsim,
)
from embplug.methods.kernels.tables import no_table, tiles
from embplug.methods.maxsim import sum_of_maxima
from embplug.methods.numeric.arrays import Codes, Float32, State, as_vectors, state_part
from embplug.methods.numeric.compact import (
    SCALES,
    columns_of,
    directions_in_bytes,
    in_nibbles,
    orthonormal,
    restored,
    stored_compact,
)
from embplug.methods.numeric.compact import stored_directions as directions_stored
from embplug.methods.numeric.rows import second_moments
from embplug.methods.quantizers.bit_allocation import (
    principal_directions,
    table_cost,
    tables_along,
    water_filling,
    weights_of,
)
from embplug.methods.quantizers.byte_tables import (
    ENTRIES,
    ByteTables,
    blocks,
    length_factors,
    lloyd_max,
    nearest_level,
    sums_of_entries,
)
from embplug.methods.quantizers.centroid import (
    CentroidQuantizer,
    CentroidSearch,
    find_centroids,
    most_vectors,
)
from embplug.methods.registry import register
from embplug.methods.roles import TokenCodes
from embplug.methods.stored import StoredArray
from embplug.methods.token_batch import TokenBatch, check_token_batch, document_blocks, token_rows
from embplug.methods.token_checks import check_finite
from embplug.methods.token_codes.predictive_strings import (
    CLASSES,
    COUNT_BYTES,
    FACTORS,
    GAINS,
    HEADER,
    HEADER_BYTES,
    ID_BYTES,
    Parsed,
    centroid_ids,
    checked,
    headers_of,
    parsed,
    token_offsets,
    written,
)
from embplug.methods.token_codes.references import find_references, in_order

RANKING_CENTROIDS = 4096
"""Centroids by which candidates are chosen. By 1,024, a hundredth of the hits is lost on docstrings."""

FIT_TOKENS = 1 << 17
HELD_OUT = 4
"""One of this many documents is not used to learn the centroids."""
ENCODE_TOKENS = SCORE_TOKENS = 1 << 14
QUERY_TOKENS = 64


class _EncodedTokens(NamedTuple):
    """Tokens of a block of documents, coded."""

    fields: NDArray[np.int64]
    """(n, 5), as in a header"""
    codes: Codes
    """(n, most bytes of a class), each row filled from the left"""
    remains: Float32
    """(n, dim): what the codes had to tell"""
    factors: Float32
    """(n,): wanted length over the length of what is decoded"""


@plain_dataclass(frozen=True, eq=False)
class _Learned:
    """Learned arrays of :class:`PredictiveQuantizer`.

    Attributes
    ----------
    stored_centroids
        What the state keeps of the centroids.
    gains : float32 (16,)
        Shares of the reference's residual that predict a token's.
    borders : float32 (7,)
        Squared lengths of what a prediction leaves, that part the classes.
    factors : float32 (32,)
    directions : float32 (dim, dim)
        In which what predictions leave varies most, over all classes.
    stored_directions : int8 or float32 (dim, dim)
        What the state keeps of them.
    tables
        Of each class.
    kept
        For each class, the directions that its tables describe.
    mean_bytes
        Of a token's code, header included.
    sampled
        Tokens learned from.
    """

    stored_centroids: State
    gains: Float32
    borders: Float32
    factors: Float32
    directions: Float32
    stored_directions: NDArray[Any]
    tables: list[ByteTables]
    kept: list[NDArray[np.int64]]
    mean_bytes: float
    sampled: int

    @cached_property
    def centroids(self) -> Float32:
        """Float32 (centroids, dim)."""
        return restored(self.stored_centroids, "centroids", axis=1)

    @cached_property
    def search(self) -> CentroidSearch:
        return CentroidSearch(self.centroids)

    @cached_property
    def rows(self) -> RoundedRows:
        return RoundedRows(self.centroids)

    @cached_property
    def classes(self) -> PredictiveClasses:
        used, places = np.unique(np.concatenate(self.kept), return_inverse=True)
        kept = np.split(places, np.cumsum([len(numbers) for numbers in self.kept])[:-1])
        columns = [(table.columns, table.widths) for table in self.tables]
        classes = [(*arrays, numbers) for arrays, numbers in zip(columns, kept, strict=True)]
        return PredictiveClasses(self.directions[:, used].T, classes)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes (8,) of a code of each class, without the header."""
        return np.array([len(table.widths) for table in self.tables])


@register("predictive", roles=("token_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class PredictiveQuantizer(TokenCodes):
    """Quantizer of whole documents that predicts each token from an earlier token.

    Most tokens of a document are similar to an earlier one. A token names that token, its *reference*, as
    video names blocks of earlier frames: centroid + gain * (reference - centroid of the reference) + rest.
    The rest has one of eight sizes. Reverse water-filling over tokens and directions gives more bytes to
    larger rests, so that all tokens err alike.

    Scoring does not decode: the score of a token is the gain times that of its reference, plus lookups for
    its own centroid and rest.

    Parameters
    ----------
    size : int, default=32
        Mean bytes of a token. Four of them hold centroid, reference, gain, class, and the factor that
        restores the length.
    centroids : int, default=4096
        Number of centroids, at most 4,096.
    levels : {"joint", "scalar"}, default="joint"
        See :class:`BitAllocationQuantizer`.
    emphasis : float, default=1.0
        Exponent by which errors weigh in the directions in which tokens vary. Queries vary in the same
        directions, so that errors there change more scores: 1.5 keeps more of a ranking. 1 makes the error of
        the vectors themselves least.
    seed : int, default=0
        Seed of the k-means initialisation and of the sample.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="predictive"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    fitted_ : object
        Centroids, gains, classes and tables. None before :meth:`fit`.
    """

    size: int = Field(default=32, ge=HEADER_BYTES + 2)
    centroids: int = Field(default=4096, ge=1, le=4096)
    levels: Literal["joint", "scalar"] = "joint"
    emphasis: float = Field(default=1.0, ge=1, le=2)
    seed: int = Field(default=0, ge=0)
    kind: Literal["predictive"] = "predictive"

    def __post_init__(self) -> None:
        self.fitted_: _Learned | None = None

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        return {f"predictive {size}": cls(size=size) for size in (32, 16)}

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.fitted_ is None else len(self.fitted_.directions)

    @override
    def least_sample(self, dim: int) -> int:
        return max(dim, self.centroids)

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Mean bytes of a token: ``size`` before ``fit``, and the mean over the sample after it."""
        return self.size if self.fitted_ is None else self.fitted_.mean_bytes

    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> Self:
        """Learn from documents, or a random sample of them.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        queries : TokenBatch, default=None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        InvalidArgumentError
            ``tokens`` is not a TokenBatch, or has numbers that centroids cannot hold in float16.
        EmptyTokensError
            There is no token.
        NonFiniteError
            A token holds NaN or infinity. The error names the first one.
        """
        check_token_batch(tokens)
        _check(tokens)
        if len(tokens.values) == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        generator = np.random.default_rng(self.seed)
        rows, some, held_out = _split(tokens, generator)
        if len(rows) > most_vectors(self.centroids):
            rows = np.sort(generator.choice(rows, most_vectors(self.centroids), replace=False))
        centroids = find_centroids(
            np.asarray(tokens.values[rows], dtype=np.float32), self.centroids, generator, "tokens"
        )
        # What rounding takes from a centroid is coded with the rest.
        stored = in_nibbles("centroids", centroids)
        gains, remains = _first_look(restored(stored, "centroids", axis=1), some)
        # Coarse tables are enough to see what predictions from decoded tokens leave.
        moments = second_moments(some.values) / len(some.values)
        draft = self._with_tables(stored, gains, remains, moments, held_out, "scalar", generator)
        _code_all(draft, some, remains)
        learned = self._with_tables(stored, gains, remains, moments, held_out, self.levels, generator)
        factors = _code_all(learned, some, remains)
        classes = np.searchsorted(learned.borders, np.square(remains[held_out]).sum(axis=1))
        mean_bytes = HEADER_BYTES + float(learned.sizes[classes].mean())
        self.fitted_ = replace(learned, factors=lloyd_max(factors, FACTORS), mean_bytes=mean_bytes)
        return self

    def encode(self, tokens: TokenBatch) -> list[bytes]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.

        Returns
        -------
        list of bytes
            One string for each document: its number of tokens, their headers, and the rests class by class.

        Raises
        ------
        InvalidArgumentError
            ``tokens`` is not a TokenBatch.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        NonFiniteError
            A token holds NaN or infinity. The error names the first one.
        """
        check_token_batch(tokens)
        learned = self._fitted()
        _check(tokens, self.dim)
        strings: list[bytes] = []
        for documents in document_blocks(tokens.offsets, ENCODE_TOKENS):
            block = tokens[documents]
            coded = _code(learned, block)
            strings += written(coded.fields, coded.codes, block.offsets, learned.sizes)
        return strings

    @override
    def decode(self, strings: Sequence[bytes]) -> TokenBatch:
        learned = self._fitted()
        offsets = token_offsets(strings)
        values = np.empty((offsets[-1], self.dim), dtype=np.float32)
        for documents in document_blocks(offsets, ENCODE_TOKENS):
            taken = parsed(strings, documents, learned.sizes, len(learned.centroids))
            values[token_rows(offsets, documents)] = _decoded(learned, taken)
        return TokenBatch(values, offsets)

    @override
    def sizes(self, tokens: TokenBatch) -> NDArray[np.int64]:
        check_token_batch(tokens)
        most = HEADER_BYTES + int(self._fitted().sizes.max())
        return np.asarray(COUNT_BYTES + tokens.lengths * most)

    @override
    def maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        query_tokens, kernel = as_vectors(query, self.dim, "query"), load()
        if kernel is not None:
            return self._compiled(kernel, query_tokens, strings)
        offsets = token_offsets(strings)
        # Tables of products grow with the query: a few tokens of it at a time.
        some = [query_tokens[rows] for rows in blocks(len(query_tokens), QUERY_TOKENS)] or [query_tokens]
        scores = [self._sum_of_maxima(member, strings, offsets) for member in some]
        return np.asarray(np.sum(scores, axis=0), dtype=np.float32)

    @override
    def centroid_maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        learned, kernel = self._fitted(), load()
        query_tokens = as_vectors(query, self.dim, "query")
        headers = headers_of(strings)
        if kernel is None:
            ids = centroid_ids(headers, len(learned.centroids))
            with single_blas_thread():
                of_centroids = learned.centroids @ query_tokens.T
            return sum_of_maxima(
                lambda rows, _: np.take(of_centroids, ids[rows], axis=0), headers.offsets, len(query_tokens)
            )
        terms = TokenTerms(
            headers, HEADER_BYTES, first=ID_BYTES, id_bytes=ID_BYTES, factor_bits=8 * ID_BYTES - HEADER[0]
        )
        return maxsim_of_tiles(
            kernel,
            query_tokens,
            terms,
            lambda tokens: (no_table(len(tokens)), learned.rows.products(kernel, tokens)),
        )

    @property
    @override
    def centroid_bytes(self) -> int:
        return 1 if self.centroids <= ENTRIES else 2

    @property
    @override
    def centroids_rank(self) -> bool:
        return self.fitted and self.centroids >= RANKING_CENTROIDS

    @override
    def centroid_codes(self) -> CentroidQuantizer:
        learned = self._fitted()
        return CentroidQuantizer.sharing(learned.search, learned.rows, learned.sampled)

    def _scored_by(self) -> str:
        return in_use()

    def _compiled(self, kernel: Kernel, query: Float32, strings: Sequence[bytes]) -> Float32:
        learned = self._fitted()
        documents = checked(kernel, strings, learned.sizes, len(learned.centroids))
        scores: Float32 = np.where(np.diff(documents.offsets) > 0, np.float32(0), np.float32(-np.inf))
        for tokens, lanes in tiles(query):
            bases = learned.rows.products(kernel, tokens)
            scores += predictive_maxsim(
                *(kernel, learned.classes, tokens, bases, learned.gains, learned.factors, documents),
                lanes=lanes,
            )
        return scores

    def _sum_of_maxima(
        self, query_tokens: Float32, strings: Sequence[bytes], offsets: NDArray[np.int64]
    ) -> Float32:
        learned = self._fitted()
        with single_blas_thread():
            of_centroids = learned.centroids @ query_tokens.T
            ends = ENTRIES * np.cumsum(learned.sizes)
            of_entries = np.empty((int(ends[-1]), len(query_tokens)), dtype=np.float32)
            for table, coded in zip(learned.tables, np.split(of_entries, ends[:-1]), strict=True):
                table.products(query_tokens, out=coded)

        def products(_: slice, documents: slice) -> Float32:
            taken = parsed(strings, documents, learned.sizes, len(learned.centroids))
            rests = np.empty((len(taken.ids), len(query_tokens)), dtype=np.float32)
            by_class = np.argsort(taken.classes.astype(np.uint8), kind="stable")
            rests[by_class] = sums_of_entries(of_entries, taken.codes)
            return _predicted(learned, taken, rests, np.take(of_centroids, taken.ids, axis=0))

        return sum_of_maxima(products, offsets, len(query_tokens), SCORE_TOKENS)

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        arrays = {
            **stored_compact(state, "centroids", (self.centroids, "dim"), axis=1),
            "gains": StoredArray(np.float32, (GAINS,), ascending=True),
            "borders": StoredArray(np.float32, (CLASSES - 1,), low=0, ascending=True),
            "factors": StoredArray(np.float32, (FACTORS,), low=0, ascending=True),
            "directions": directions_stored(state, "directions", ("dim", "dim")),
            "mean_bytes": StoredArray(np.float64, low=0),
            "sampled": StoredArray(np.int64),
        }
        for k in range(CLASSES):
            shape = f"directions of {k}"
            tables = stored_compact(state, f"{k}.tables", (ENTRIES, shape), axis=0)
            if f"{k}.weights" in state:
                tables[f"{k}.weights"] = StoredArray(np.float32, (shape,), low=0)
            arrays |= {name: array._replace(may_be_empty=True) for name, array in tables.items()}
            arrays[f"{k}.widths"] = StoredArray(np.int64, (f"bytes of {k}",), may_be_empty=True)
            arrays[f"{k}.kept"] = StoredArray(np.int64, (shape,), may_be_empty=True)
        return arrays

    def _check_arrays(self, arrays: State) -> None:
        dim = len(arrays["directions"])
        centroids_dim = columns_of(arrays, "centroids")
        if centroids_dim != dim:
            raise StateError(
                f"state 'centroids' of PredictiveQuantizer: expected {dim} dimensions, got {centroids_dim}"
            )
        for k in range(CLASSES):
            part = state_part(arrays, f"{k}.")
            ByteTables.check_arrays(f"class {k} of PredictiveQuantizer", part)
            kept = part["kept"]
            if (kept >= dim).any() or len(np.unique(kept)) < len(kept):
                raise StateError(
                    f"state '{k}.kept' of PredictiveQuantizer: expected different numbers below {dim}"
                )

    def _to_arrays(self) -> State:
        learned = self._fitted()
        state: State = {
            **learned.stored_centroids,
            "gains": learned.gains,
            "borders": learned.borders,
            "factors": learned.factors,
            "directions": learned.stored_directions,
            "mean_bytes": np.array(learned.mean_bytes),
            "sampled": np.array(learned.sampled),
        }
        for k, (table, kept) in enumerate(zip(learned.tables, learned.kept, strict=True)):
            # All classes share the directions, which are stored once.
            own = replace(table, rotation=None).get_state()
            state |= {f"{k}.{name}": array for name, array in own.items()}
            state[f"{k}.kept"] = kept
        return state

    def _from_arrays(self, arrays: State) -> None:
        directions = orthonormal(arrays["directions"])
        classes = [state_part(arrays, f"{k}.") for k in range(CLASSES)]
        self.fitted_ = _Learned(
            {name: arrays[name] for name in ("centroids", "centroids" + SCALES) if name in arrays},
            arrays["gains"],
            arrays["borders"],
            arrays["factors"],
            directions,
            arrays["directions"],
            [_restored(part, directions) for part in classes],
            [part["kept"] for part in classes],
            float(arrays["mean_bytes"]),
            int(arrays["sampled"]),
        )

    def _fit_cost(self) -> str:
        return (
            f"k-means on at most {most_vectors(self.centroids):,} tokens, the codes of at most "
            f"{FIT_TOKENS:,}, one eigendecomposition (d^3), {table_cost(self.levels)} in each of {CLASSES} "
            "classes"
        )

    def _notes(self) -> list[str]:
        learned = self._fitted()
        sizes = HEADER_BYTES + learned.sizes
        notes = [f"from {sizes.min()} to {sizes.max()} bytes a token, {learned.mean_bytes:.1f} on average"]
        if learned.sampled < self.centroids:
            notes.append(f"{learned.sampled} tokens to learn from: centroids coincide")
        return notes

    def _with_tables(
        self,
        centroids: State,
        gains: Float32,
        remains: Float32,
        moments: NDArray[np.float64],
        held_out: NDArray[np.bool_],
        levels: Literal["joint", "scalar"],
        generator: np.random.Generator,
    ) -> _Learned:
        """Classes of as many tokens each among those held out, by what is left of them; tables for each."""
        squares = np.square(remains).sum(axis=1)
        borders = np.quantile(squares[held_out], np.arange(1, CLASSES) / CLASSES).astype(np.float32)
        classes = np.searchsorted(borders, squares)
        shares = np.bincount(classes[held_out], minlength=CLASSES) / held_out.sum()
        # A class that nobody is in is as good as any other.
        members = [classes == k if (classes == k).any() else slice(None) for k in range(CLASSES)]
        stored_directions = directions_in_bytes(principal_directions(remains)[1])
        directions = orthonormal(stored_directions)
        variances = np.array([np.square(remains[member] @ directions).mean(axis=0) for member in members])
        variances = variances.astype(np.float64)
        weights = None
        worth = variances
        if self.emphasis > 1:
            weights = weights_of(((moments @ directions) * directions).sum(axis=0), self.emphasis)
            worth = variances * np.square(weights)
        sizes = _byte_sizes(worth, shares, self.size - HEADER_BYTES)
        tables, kept = [], []
        for member, falling, size in zip(members, worth, sizes, strict=True):
            order = np.argsort(-falling, kind="stable")
            coded, columns = tables_along(
                remains[member],
                falling[order] if weights is None else falling[order] / np.square(weights[order]),
                directions[:, order],
                size,
                levels,
                generator,
                None if weights is None else weights[order],
            )
            kept.append(order[columns])
            # Eight classes have eight tables, which short collections would notice.
            coded = coded.in_bytes(remains[member])
            # The same directions as after a restart, to the last bit.
            tables.append(replace(coded, rotation=np.ascontiguousarray(directions[:, kept[-1]])))
        factors, mean_bytes = np.ones(1, dtype=np.float32), float(self.size)
        return _Learned(
            *(centroids, gains, borders, factors, directions, stored_directions, tables, kept),
            *(mean_bytes, len(remains)),
        )

    def _fitted(self) -> _Learned:
        self._check_fitted()
        assert self.fitted_ is not None
        return self.fitted_


def _restored(part: State, directions: Float32) -> ByteTables:
    """Tables of a class, along its directions."""
    return ByteTables.from_state({**part, "rotation": directions[:, part["kept"]]})


def _check(tokens: TokenBatch, dim: int | None = None) -> None:
    if not isinstance(tokens, TokenBatch):
        raise InvalidArgumentError("tokens", "a TokenBatch of whole documents", type(tokens).__name__)
    if dim is not None and tokens.dim != dim:
        raise DimensionError("tokens", f"dim {dim}", tokens.dim)
    check_finite(tokens.values, "tokens")


def _split(
    tokens: TokenBatch, generator: np.random.Generator
) -> tuple[NDArray[np.intp], TokenBatch, NDArray[np.bool_]]:
    """Rows to learn centroids from, documents to learn from what they leave, and which tokens these held out.

    Centroids lie closer to the tokens that they were learned from. A quarter of the documents has no
    part in them, and says how many bytes others will take.
    """
    order = generator.permutation(len(tokens))
    lengths = tokens.lengths[order]
    some = tokens.take(order[np.cumsum(lengths) - lengths < FIT_TOKENS])
    # The last document alone may be more than there is time for.
    some = TokenBatch(some.values[:FIT_TOKENS], np.minimum(some.offsets, FIT_TOKENS)).to_float32()
    held = np.arange(len(order)) < len(order) // HELD_OUT
    held_out = np.repeat(held[: len(some)], some.lengths)
    others = np.zeros(len(order), dtype=bool)
    others[order[~held]] = True
    rest = np.flatnonzero(np.repeat(others, tokens.lengths))
    if not held_out.any() or not rest.size:
        return np.arange(len(tokens.values)), some, np.ones(len(some.values), dtype=bool)
    return rest, some, held_out


def _first_look(centroids: Float32, tokens: TokenBatch) -> tuple[Float32, Float32]:
    """Gains that predictions from exact tokens take, and what those leave (n, dim)."""
    residuals = np.empty_like(tokens.values)
    search = CentroidSearch(centroids)
    parts = []
    for documents in document_blocks(tokens.offsets, ENCODE_TOKENS):
        block = tokens[documents]
        own_rows = residuals[token_rows(tokens.offsets, documents)]
        np.subtract(block.values, centroids[search(block.values)], out=own_rows)
        references = find_references(own_rows, block.offsets)
        rows = np.flatnonzero(references >= 0)
        parts.append(
            (own_rows, rows, references[rows], _best_gains(own_rows[rows], own_rows[references[rows]]))
        )
    needed = np.concatenate([gains for *_, gains in parts])
    gains = lloyd_max(needed, GAINS) if needed.size else np.linspace(0, 1, GAINS, dtype=np.float32)
    for own_rows, rows, references, own in parts:
        own_rows[rows] -= gains[nearest_level(gains, own)][:, None] * own_rows[references]
    return gains, residuals


def _code_all(learned: _Learned, tokens: TokenBatch, remains: Float32) -> Float32:
    """Put what the codes have to tell into ``remains`` (n, dim), and return the factors (n,) wanted."""
    factors = np.empty(len(remains), dtype=np.float32)
    for documents in document_blocks(tokens.offsets, ENCODE_TOKENS):
        rows = token_rows(tokens.offsets, documents)
        coded = _code(learned, tokens[documents])
        remains[rows], factors[rows] = coded.remains, coded.factors
    return factors


def _code(learned: _Learned, tokens: TokenBatch) -> _EncodedTokens:
    """Predict tokens from decoded ones, and code what is left."""
    values = np.asarray(tokens.values, dtype=np.float32)
    ids = learned.search(values)
    bases = learned.centroids[ids]
    remains = values - bases
    references = find_references(remains, tokens.offsets)
    back, gains, classes, levels = np.zeros((4, len(values)), dtype=np.int64)
    codes = np.zeros((len(values), int(learned.sizes.max())), dtype=np.uint8)
    factors = np.ones(len(values), dtype=np.float32)
    decoded = bases.copy()
    for rows in in_order(references):
        with_reference = rows[references[rows] >= 0]
        if with_reference.size:
            sources = references[with_reference]
            shapes, rest = decoded[sources] - bases[sources], remains[with_reference]
            gain = nearest_level(learned.gains, _best_gains(rest, shapes))
            predicted = learned.gains[gain][:, None] * shapes
            # A gain is one of few, so that what is left can be more than what there was.
            helps = ((rest - predicted / 2) * predicted).sum(axis=1) > 0
            helped = with_reference[helps]
            remains[helped] -= predicted[helps]
            decoded[helped] += predicted[helps]
            back[helped], gains[helped] = helped - sources[helps], gain[helps]
        classes[rows] = np.searchsorted(learned.borders, np.square(remains[rows]).sum(axis=1))
        for k, table in enumerate(learned.tables):
            own_rows = rows[classes[rows] == k]
            if own_rows.size:
                coded = table.encode(remains[own_rows])
                codes[own_rows, : coded.shape[1]] = coded
                decoded[own_rows] += table.decode(coded)
        factors[rows] = length_factors(values[rows], decoded[rows])
        levels[rows] = nearest_level(learned.factors, factors[rows])
        decoded[rows] *= learned.factors[levels[rows]][:, None]
    return _EncodedTokens(np.stack([ids, back, gains, classes, levels], axis=1), codes, remains, factors)


def _decoded(learned: _Learned, taken: Parsed) -> Float32:
    """Tokens (n, dim) of a block."""
    rests = np.zeros((len(taken.ids), learned.centroids.shape[1]), dtype=np.float32)
    for k, codes in enumerate(taken.codes):
        if codes.size:
            rests[taken.classes == k] = learned.tables[k].decode(codes)
    return _predicted(learned, taken, rests, learned.centroids[taken.ids])


def _predicted(learned: _Learned, taken: Parsed, rests: Float32, bases: Float32) -> Float32:
    """Rests and bases put together with what references predict: rows of tokens, or of their scores.

    ``rests`` is used up.
    """
    factors = learned.factors[taken.factors][:, None]
    gains = factors * learned.gains[taken.gains][:, None]
    # From here on, ``rests`` is the difference to the base, of which references pass on a share.
    rests *= factors
    rests += (factors - 1) * bases
    for rows in in_order(taken.references)[1:]:
        passed = np.take(rests, taken.references[rows], axis=0)
        passed *= gains[rows]
        rests[rows] += passed
    rests += bases
    return rests


def _byte_sizes(variances: NDArray[np.float64], shares: NDArray[np.float64], budget: int) -> list[int]:
    """Whole bytes of each class, together ``budget`` on average: reverse water-filling over all of them."""
    weights = np.repeat(shares[:, None], variances.shape[1], axis=1)
    needed = water_filling(variances, 8 * budget, weights=weights).sum(axis=1) / 8
    sizes = np.floor(needed).astype(np.int64)
    for k in np.argsort(sizes - needed, kind="stable"):
        if sizes[k] < needed[k] and (shares * sizes).sum() + shares[k] <= budget:
            sizes[k] += 1
    return [int(size) for size in sizes]


def _best_gains(rest: Float32, shapes: Float32) -> Float32:
    """Share of each shape that comes closest to what is there."""
    squares = np.square(shapes).sum(axis=1)
    products = (rest * shapes).sum(axis=1)
    return np.asarray(products / np.where(squares > 0, squares, 1), dtype=np.float32)
