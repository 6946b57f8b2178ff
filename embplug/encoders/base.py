"""The encoder protocol, and the vectors that an encoder returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.methods.token_batch import TokenBatch, taken_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PER_TOKEN = ("saliency", "token_ids", "spans")
"""Fields of :class:`Encoded` that have one row for each token."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Vectors of texts.

    Attributes
    ----------
    tokens : TokenBatch, default=None
        One token matrix for each text. ``None`` if the encoder makes no token vectors.
    dense : float32 array of shape (n_texts, dim), default=None
        One vector for each text. ``None`` if the encoder makes no dense vectors.
    saliency : float32 array of shape (sum_tokens,), default=None
        How much attention each token of ``tokens`` receives, for pruning. ``None`` if the encoder does not
        compute it.
    sparse : scipy.sparse.csr_array of shape (n_texts, n_indices), default=None
        Weights of words for each text, by the indices of a vocabulary. ``None`` if the encoder makes no
        sparse vectors.
    token_ids : int64 array of shape (sum_tokens,), default=None
        Vocabulary id of each token of ``tokens``, and -1 for a token without one. ``None`` if the encoder
        does not know them.
    spans : int32 array of shape (sum_tokens, 2), default=None
        Characters of its text that each token of ``tokens`` stands for: start and end. Both are equal for a
        token that stands for none, such as a prompt's. ``None`` if the encoder does not know them.

    Raises
    ------
    InvalidArgumentError
        ``tokens`` are no ``TokenBatch``.
    LengthMismatchError
        ``dense``, ``sparse`` and ``tokens`` are of different numbers of texts, or ``saliency``,
        ``token_ids`` or ``spans`` do not have one row for each token.
    """

    tokens: TokenBatch | None = None
    dense: NDArray[np.float32] | None = None
    saliency: NDArray[np.float32] | None = None
    sparse: csr_array | None = None
    token_ids: NDArray[np.int64] | None = None
    spans: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, TokenBatch | None):
            raise InvalidArgumentError("tokens", "a TokenBatch, or None", type(self.tokens).__name__)
        whole = {"tokens": self.tokens, "dense": self.dense, "sparse": self.sparse}
        counts = {name: _rows(vectors) for name, vectors in whole.items() if vectors is not None}
        for name, count in counts.items():
            if count != next(iter(counts.values())):
                expected = f"one row for each of {next(iter(counts.values()))} texts"
                raise LengthMismatchError(name, expected, count)
        n_tokens = 0 if self.tokens is None else len(self.tokens.values)
        for name in PER_TOKEN:
            values, shape = getattr(self, name), (n_tokens, 2) if name == "spans" else (n_tokens,)
            if values is not None and np.shape(values) != shape:
                raise LengthMismatchError(name, f"shape {shape}, as there are tokens", np.shape(values))

    def __len__(self) -> int:
        """Return the number of texts."""
        return next((_rows(v) for v in (self.tokens, self.dense, self.sparse) if v is not None), 0)

    @classmethod
    def concat(cls, batches: Sequence[Encoded]) -> Encoded:
        """Concatenate what one encoder makes of several batches of texts.

        Parameters
        ----------
        batches : sequence of Encoded
            At least one.

        Returns
        -------
        Encoded
            The fields that all batches have, with the texts in order. Sparse vectors get the width of the
            widest.
        """

        def joined(name: str, join: Callable[[Any], Any] = np.concatenate) -> Any:
            values = [getattr(batch, name) for batch in batches]
            return None if any(value is None for value in values) else join(values)

        return cls(
            tokens=joined("tokens", TokenBatch.concat),
            sparse=joined("sparse", _stacked),
            **{name: joined(name) for name in ("dense", *PER_TOKEN)},
        )

    def take(self, rows: ArrayLike) -> Encoded:
        """Copy texts by their positions.

        Parameters
        ----------
        rows : array-like of shape (m,), int
            Positions of texts, from 0.

        Returns
        -------
        Encoded
            Everything that is known of these texts, in the order of ``rows``.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        per_token: dict[str, Any] = {}
        if self.tokens is not None:
            of_tokens, _ = taken_rows(self.tokens.offsets, chosen)
            values = {name: getattr(self, name) for name in PER_TOKEN}
            per_token = {name: own[of_tokens] for name, own in values.items() if own is not None}
        return Encoded(
            tokens=None if self.tokens is None else self.tokens.take(chosen),
            dense=None if self.dense is None else self.dense[chosen],
            sparse=None if self.sparse is None else self.sparse.tocsr()[chosen],
            **per_token,
        )

    def saliency_of(self, row: int) -> NDArray[np.float32] | None:
        """Return the saliency of the tokens of one text.

        Parameters
        ----------
        row : int
            Position of the text.

        Returns
        -------
        float32 array of shape (n_tokens,) or None
            Saliency of each token. ``None`` if the encoder does not compute it.
        """
        return self._of_tokens(self.saliency, row)

    def token_ids_of(self, row: int) -> NDArray[np.int64] | None:
        """Return the vocabulary ids of the tokens of one text.

        Parameters
        ----------
        row : int
            Position of the text.

        Returns
        -------
        int64 array of shape (n_tokens,) or None
            Id of each token, or -1. ``None`` if the encoder does not know them.
        """
        return self._of_tokens(self.token_ids, row)

    def spans_of(self, row: int) -> NDArray[np.int32] | None:
        """Return which characters of a text its tokens stand for.

        Parameters
        ----------
        row : int
            Position of the text.

        Returns
        -------
        int32 array of shape (n_tokens, 2) or None
            Start and end of each token. ``None`` if the encoder does not know them.
        """
        return self._of_tokens(self.spans, row)

    def _of_tokens(self, values: NDArray[Any] | None, row: int) -> NDArray[Any] | None:
        if self.tokens is None or values is None:
            return None
        return values[slice(*self.tokens.offsets[row : row + 2])]


def _stacked(batches: Sequence[csr_array]) -> csr_array:
    """Rows of several matrices below each other, whose widths may differ."""
    from scipy.sparse import csr_array

    batches = [batch.tocsr() for batch in batches]
    width = max(batch.shape[1] for batch in batches)
    offsets = np.zeros(sum(batch.shape[0] for batch in batches) + 1, dtype=np.int64)
    np.cumsum(np.concatenate([np.diff(batch.indptr) for batch in batches]), out=offsets[1:])
    values = np.concatenate([batch.data for batch in batches])
    indices = np.concatenate([batch.indices.astype(np.int64) for batch in batches])
    return csr_array((values, indices, offsets), shape=(len(offsets) - 1, width))


def _rows(vectors: Any) -> int:
    return len(vectors) if isinstance(vectors, TokenBatch) else int(np.shape(vectors)[0])


@runtime_checkable
class Encoder(Protocol):
    """Protocol of encoders, which turn texts into vectors.

    Any object with these three attributes is an encoder.

    Attributes
    ----------
    spec : str
        Name by which :func:`~embplug.load_encoder` loads the encoder again. A recipe stores it.
    """

    spec: str

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            Vectors of the texts.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            Vectors of the texts.
        """
        ...


def special_token_ids(tokenizer: Any) -> list[int]:
    """Return the ids of special tokens that stand for no text: beginning, end, padding and mask.

    The unknown token stands for text. Without it, a text of emoji alone would have no tokens.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of a transformers model.

    Returns
    -------
    list of int
        Token ids.
    """
    special = getattr(
        tokenizer, "all_special_ids", []
    )  # tokenizers without a model of transformers have none
    return [i for i in special if i != tokenizer.unk_token_id]


def token_batch(matrices: Sequence[Any]) -> TokenBatch:
    """Make a batch of the token matrices that a model returned.

    Parameters
    ----------
    matrices : sequence of arrays or tensors of shape (n_tokens, dim)
        One token matrix for each text.

    Returns
    -------
    TokenBatch
        The same matrices: float16 where all of them are, otherwise float32.
    """
    return TokenBatch.from_list(matrices)


def csr_rows(indices: Sequence[Any], weights: Sequence[Any]) -> csr_array:
    """Make a sparse matrix of the indices and weights of texts.

    Parameters
    ----------
    indices : sequence of int arrays
        Indices of the vocabulary, for each text. They may repeat only across texts.
    weights : sequence of float arrays
        Weight of each index.

    Returns
    -------
    scipy.sparse.csr_array of shape (n_texts, n_indices), float32
        One row for each text, with indices in ascending order.
    """
    from scipy.sparse import csr_array

    offsets = np.zeros(len(indices) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in indices], out=offsets[1:])
    columns = np.concatenate([np.empty(0), *indices]).astype(np.int64)
    values = np.concatenate([np.empty(0), *weights]).astype(np.float32)
    width = int(columns.max()) + 1 if len(columns) else 1
    rows = csr_array((values, columns, offsets), shape=(len(indices), width))
    rows.sort_indices()
    return rows
