"""From the arguments of LangChain's searches to the requests of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from langchain_core.embeddings import Embeddings
from qdrant_client import models
from typing_extensions import Unpack

from embplug import Recipe
from embplug.frameworks.arguments import check_integer
from embplug.frameworks.peer_keywords import check_options
from embplug.frameworks.search import SearchRequest
from embplug.frameworks.texts import query_needs_text
from embplug.recipe.names import SPARSE_VECTOR
from langchain_embplug.documents import PayloadKeys
from langchain_embplug.filters import Filter, to_filter
from langchain_embplug.options import SearchOptions
from langchain_embplug.peer_keywords import fusion_of

Vector: TypeAlias = Sequence[float] | Sequence[Sequence[float]]
"""A dense vector, or a token matrix."""


class Requests:
    """Makes the requests of a store.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the collection.
    embedding : Embeddings or None
        Makes the dense vectors of texts. If it is None, the encoder of the collection does.
    dense_name : str or None
        Name of the dense vector that the embeddings make.
    keys : PayloadKeys
        Payload fields with the text and the metadata.
    branches : list of str, default=None
        Branches that are searched in. None searches in all.
    """

    def __init__(
        self,
        recipe: Recipe,
        embedding: Embeddings | None,
        dense_name: str | None,
        keys: PayloadKeys,
        branches: list[str] | None = None,
    ) -> None:
        self._branches = branches
        self._recipe = recipe
        self._embedding = embedding
        self._dense_name = dense_name
        self._keys = keys

    def of_text(
        self,
        query: str,
        k: int,
        filter: Filter | None = None,
        *,
        mmr: models.Mmr | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchRequest:
        """Return the request for a text; see :meth:`EmbplugVectorStore.similarity_search`."""
        vector = None if self._model is None else self._model.embed_query(query)
        return self._request(self._text_inputs(query, vector), k, filter, mmr=mmr, **options)

    async def aof_text(
        self,
        query: str,
        k: int,
        filter: Filter | None = None,
        *,
        mmr: models.Mmr | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchRequest:
        """Return the request for a text, which is embedded asynchronously; see :meth:`of_text`."""
        vector = None if self._model is None else await self._model.aembed_query(query)
        return self._request(self._text_inputs(query, vector), k, filter, mmr=mmr, **options)

    def of_vector(
        self,
        vector: Vector,
        k: int,
        filter: Filter | None = None,
        *,
        mmr: models.Mmr | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchRequest:
        """Return the request for a dense vector or a token matrix; see :meth:`of_text`."""
        if _is_matrix(vector):
            return self._request({"tokens": vector}, k, filter, mmr=mmr, **options)
        dense = vector if self._dense_name is None else {self._dense_name: vector}
        return self._request({"dense": dense}, k, filter, mmr=mmr, **options)

    @property
    def _searched(self) -> list[str]:
        return [*self._recipe.branches] if self._branches is None else self._branches

    @property
    def _model(self) -> Embeddings | None:
        """Embeddings, if a search compares their vectors."""
        return self._embedding if self._dense_name in self._searched else None

    def _text_inputs(self, text: str, vector: list[float] | None) -> dict[str, Any]:
        dense = None if vector is None else {str(self._dense_name): vector}
        searches_sparse = self._recipe.sparse is not None and SPARSE_VECTOR in self._searched
        needs_text = query_needs_text(
            self._recipe, has_tokens=False, dense=dense, searches_sparse=searches_sparse
        )
        return {"dense": dense, "text": text if needs_text else None}

    def _request(
        self,
        inputs: Mapping[str, Any],
        k: int,
        filter: Filter | None,
        *,
        mmr: models.Mmr | None,
        offset: int = 0,
        hybrid_fusion: Any = None,
        **options: Any,
    ) -> SearchRequest:
        check_options(options, SearchOptions)
        check_integer("k", k, 1)
        check_integer("offset", offset, 0)
        condition = to_filter(filter, self._keys.metadata)
        return SearchRequest(
            **inputs,
            limit=k,
            offset=offset,
            filter=condition,
            branches=self._branches,
            fusion=fusion_of(hybrid_fusion),
            mmr=mmr,
            **options,
        )


def _is_matrix(vector: Any) -> bool:
    try:
        return bool(np.ndim(vector) == 2)
    except ValueError:  # what is nested unevenly or too deep is left to the checks of the collection
        return False
