"""Texts as sparse vectors for BM25; Qdrant multiplies the weights by the inverse document frequency."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from qdrant_client import models

from embplug.branches.sparse_vectors import SparseBatch
from embplug.errors import MissingExtraError, NotFittedError
from embplug.methods.base import Description
from embplug.methods.numeric.arrays import State, state_bytes
from embplug.methods.stored import StoredArray, checked_state
from embplug.recipe import Sparse

CHARACTERS_PER_NUMBER = 3
"""A term takes two numbers, its id and its weight, and stands for about six characters of text."""


class BM25Encoder:
    """Encodes texts as sparse vectors for BM25 [1]_: documents as weights of terms, queries as counts.

    Parameters
    ----------
    recipe : Sparse
        Language and parameters of BM25.

    Attributes
    ----------
    average_length_ : float or None
        Mean number of terms in a document, from the recipe or from ``fit``. None before.

    References
    ----------
    .. [1] Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
    """

    def __init__(self, recipe: Sparse) -> None:
        self.recipe = recipe
        self.average_length_ = recipe.average_length

    @property
    def requires_fit(self) -> bool:
        """Whether ``fit`` computes the average length, because the recipe does not set it."""
        return self.recipe.average_length is None

    @property
    def fitted(self) -> bool:
        """Whether the average length is known."""
        return self.average_length_ is not None

    def fit(self, texts: Sequence[str]) -> BM25Encoder:
        """Compute the mean number of terms in a document.

        Parameters
        ----------
        texts : sequence of str
            Texts of documents.

        Returns
        -------
        BM25Encoder
            The encoder itself.

        Raises
        ------
        MissingExtraError
            The extra ``sparse`` is not installed.
        """
        terms = sum(map(len, split(texts, self.recipe.language)))
        self.average_length_ = max(terms / max(len(texts), 1), 1.0)
        return self

    def get_state(self) -> State:
        """Return what was learned; empty when it is in the recipe."""
        if not self.requires_fit or self.average_length_ is None:
            return {}
        return {"average_length": np.array(self.average_length_)}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned; StateError if it is nothing of that kind."""
        if self.requires_fit:
            arrays = checked_state("BM25", state, {"average_length": StoredArray(np.float64, low=1)})
            self.average_length_ = float(arrays["average_length"])

    def describe(self) -> Description:
        """Describe BM25; a sparse vector has no dimension, and as many numbers as its text has terms.

        Raises
        ------
        NotFittedError
            The average length is still to be learned.
        """
        length = self._known_length()
        return Description(
            method="bm25",
            dim=None,
            output_dim=None,
            code_bytes=None,
            bits=None,
            state_bytes=state_bytes(self.get_state()),
            exact_queries=True,
            order="that of BM25",
            fit_cost="counts the terms of the sample" if self.requires_fit else "none",
            notes=(f"average_length is {length:g} terms",) if self.requires_fit else (),
        )

    def encode(self, texts: Sequence[str]) -> SparseBatch:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
            Texts of n documents.

        Returns
        -------
        SparseBatch
            Weights of the terms of each document: their saturated frequency, normalized by the length.

        Raises
        ------
        NotFittedError
            The average length is neither in the recipe nor fitted.
        MissingExtraError
            The extra ``sparse`` is not installed.
        """
        average_length = self._known_length()
        batch = _counted(split(texts, self.recipe.language))
        counts, k1, b = batch.values, self.recipe.k1, self.recipe.b
        lengths = np.zeros(len(batch))
        np.add.at(lengths, np.repeat(np.arange(len(batch)), np.diff(batch.offsets)), counts)
        norms = k1 * (1 - b + b * lengths / average_length)
        weights = counts * (k1 + 1) / (counts + np.repeat(norms, np.diff(batch.offsets)))
        return SparseBatch(batch.indices, weights.astype(np.float32), batch.offsets)

    def encode_query(self, text: str) -> models.SparseVector:
        """Encode a query.

        Parameters
        ----------
        text : str
            Text of the query.

        Returns
        -------
        models.SparseVector
            How often each term occurs in the query.

        Raises
        ------
        MissingExtraError
            The extra ``sparse`` is not installed.
        """
        indices, values = _counted(split([text], self.recipe.language)).lists()[0]
        return models.SparseVector(indices=indices, values=values)

    def _known_length(self) -> float:
        if self.average_length_ is None:
            raise NotFittedError(
                "the average length of documents is not known yet: add documents, or set average_length"
            )
        return self.average_length_


def split(texts: Sequence[str], language: str | None) -> list[list[str]]:
    """Split texts into terms: stems of words in lower case, without stop words.

    Parameters
    ----------
    texts : sequence of str
        Texts to split.
    language : str or None
        Language of the stop words and of the stemmer. None keeps all words and does not stem them.

    Returns
    -------
    list of list of str
        Terms of each text, in order.

    Raises
    ------
    MissingExtraError
        The extra ``sparse`` is not installed.
    """
    try:
        from bm25s.tokenization import tokenize
        from Stemmer import Stemmer
    except ImportError as error:
        raise MissingExtraError("the sparse branch of a recipe", "sparse") from error
    terms: list[list[str]] = tokenize(
        list(texts),
        token_pattern=r"(?u)\b\w+\b",
        stopwords=language,
        # Each call has its own stemmer, because threads may not share one.
        stemmer=None if language is None else Stemmer(language),
        return_ids=False,
        show_progress=False,
    )
    return terms


@lru_cache(maxsize=1 << 17)
def term_id(term: str) -> int:
    """Return the id of a term: 32 bits of its hash, so that no vocabulary is needed."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "little")


def _counted(documents: Sequence[Sequence[str]]) -> SparseBatch:
    lengths = [len(terms) for terms in documents]
    ids = np.array([term_id(term) for terms in documents for term in terms], dtype=np.uint64)
    owners = np.repeat(np.arange(len(documents), dtype=np.uint64), lengths)
    # Terms with the same id are counted together, because the indices of a sparse vector are unique.
    keys, counts = np.unique(owners << np.uint64(32) | ids, return_counts=True)
    offsets = np.searchsorted(keys >> np.uint64(32), np.arange(len(documents) + 1, dtype=np.uint64))
    return SparseBatch(
        (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32), counts.astype(np.float32), offsets.astype(np.int64)
    )
