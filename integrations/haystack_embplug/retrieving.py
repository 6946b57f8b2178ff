"""What the retrievers share: their options, and a search by them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from haystack import Document, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy
from haystack.document_stores.types.filter_policy import apply_filter_policy
from qdrant_client import models
from typing_extensions import Self

from embplug import Hit, HitGroup
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_integer, check_number
from embplug.frameworks.conditions import all_hold
from embplug.frameworks.search import SearchRequest
from haystack_embplug.document_store import EmbplugDocumentStore
from haystack_embplug.documents import META_KEY
from haystack_embplug.filters import Filters, to_filter

Scale: TypeAlias = Callable[[float], float]
"""Maps a score to relevance."""

GROUP_SIZE = 3
"""Highest number of documents of a group, if the user names none; as in Qdrant."""


@dataclass(frozen=True, kw_only=True)
class RetrieverOptions:
    """Options of a retriever, each of which a run may replace.

    Parameters
    ----------
    document_store : EmbplugDocumentStore
        Store to search in.
    filters : mapping or qdrant_client.models.Filter or None
        Condition; see :func:`haystack_embplug.to_filter`.
    top_k : int
        Number of documents, or of groups.
    scale_score : bool
        Map scores to 0 to 1.
    filter_policy : FilterPolicy or str
        Whether the filters of a run replace ``filters``, or are merged with them.
    score_threshold : float or None
        Lowest score of a document, on the scale of the last stage.
    group_by : str or None
        Path of a field of the metadata whose values make groups.
    group_size : int or None
        Highest number of documents of a group.
    """

    document_store: EmbplugDocumentStore
    filters: Filters | None
    top_k: int
    scale_score: bool
    filter_policy: FilterPolicy
    score_threshold: float | None
    group_by: str | None
    group_size: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.document_store, EmbplugDocumentStore):
            kind = type(self.document_store).__name__
            raise InvalidArgumentError("document_store", "an EmbplugDocumentStore", kind)
        check_integer("top_k", self.top_k, 1)
        if self.group_size is not None:
            check_integer("group_size", self.group_size, 1)
        if self.score_threshold is not None:
            check_number("score_threshold", self.score_threshold)
        if self.group_by is not None and not (isinstance(self.group_by, str) and self.group_by):
            raise InvalidArgumentError("group_by", "a field of the metadata", short_repr(self.group_by))

    def to_dict(self, component: Any, **others: Any) -> dict[str, Any]:
        """Return a retriever as data."""
        filters = self.filters
        data: dict[str, Any] = default_to_dict(
            component,
            document_store=self.document_store,
            filters=filters.model_dump(mode="json") if isinstance(filters, models.Filter) else filters,
            top_k=self.top_k,
            scale_score=self.scale_score,
            filter_policy=self.filter_policy.value,
            score_threshold=self.score_threshold,
            group_by=self.group_by,
            group_size=self.group_size,
            **others,
        )
        return data

    def run(
        self, inputs: Mapping[str, Any], scale: Callable[[], Scale] | None, **overrides: Any
    ) -> dict[str, list[Document]]:
        """Search, with the options of one run where they are not None.

        Parameters
        ----------
        inputs : mapping of str to Any
            Arguments of :class:`~embplug.frameworks.search.SearchRequest` that differ between retrievers.
        scale : callable
            Returns the function that maps scores to 0 to 1. It is called if scores are scaled.
        **overrides
            Options of this run.

        Returns
        -------
        dict
            The documents, best first, as ``documents``.
        """
        run = self._merged(overrides)
        shared = self.document_store.shared()
        request = run.request(inputs)
        if run.group_by is None:
            hits = shared.search(request)
        else:
            hits = _hits(shared.search_groups(request, _path(run.group_by), run.size))
        return run.documents(hits, scale)

    async def arun(
        self, inputs: Mapping[str, Any], scale: Callable[[], Scale] | None, **overrides: Any
    ) -> dict[str, list[Document]]:
        """Search asynchronously; see :meth:`run`."""
        run = self._merged(overrides)
        shared = await self.document_store.ashared()
        request = run.request(inputs)
        if run.group_by is None:
            hits = await shared.asearch(request)
        else:
            hits = _hits(await shared.asearch_groups(request, _path(run.group_by), run.size))
        # Relevance may encode the query.
        return await asyncio.to_thread(run.documents, hits, scale)

    @property
    def size(self) -> int:
        """Highest number of documents of a group."""
        return GROUP_SIZE if self.group_size is None else self.group_size

    def request(self, inputs: Mapping[str, Any]) -> SearchRequest:
        """Return the request of a run, which is opened by now."""
        shared = self.document_store.shared()
        condition = to_filter(self.filters, content_key=shared.collection.recipe.text_key, ids=shared.ids)
        return SearchRequest(
            **inputs, limit=self.top_k, filter=condition, score_threshold=self.score_threshold
        )

    def documents(self, hits: Sequence[Hit], scale: Callable[[], Scale] | None) -> dict[str, list[Document]]:
        """Return hits as documents, with their scores on the scale that the options name."""
        documents = self.document_store.documents_of(hits)
        if self.scale_score and scale is not None and documents:
            scaled = scale()
            documents = [
                replace(document, score=scaled(hit.score))
                for document, hit in zip(documents, hits, strict=True)
            ]
        return {"documents": documents}

    def _merged(self, overrides: Mapping[str, Any]) -> RetrieverOptions:
        options = {name: value for name, value in overrides.items() if value is not None}
        options["filters"] = self._merged_filters(options.get("filters"))
        return replace(self, **options)

    def _merged_filters(self, filters: Any) -> Any:
        own: Any = self.filters
        if self.filter_policy != FilterPolicy.MERGE:
            return apply_filter_policy(self.filter_policy, own, filters)
        if isinstance(own, models.Filter) or isinstance(filters, models.Filter):
            # Haystack merges filters of its own language alone.
            return all_hold([to_filter(own), to_filter(filters)])
        return apply_filter_policy(self.filter_policy, own, filters)


class StoreRetriever:
    """What the retrievers have in common as components: data, and the connection of their store."""

    _options: RetrieverOptions

    def to_dict(self) -> dict[str, Any]:
        """Return the retriever and its store as data."""
        return self._options.to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a retriever of the result of :meth:`to_dict`."""
        # Haystack's own reading of data needs the module of the store among those that the caller allows.
        parameters = dict(data["init_parameters"])
        parameters["document_store"] = EmbplugDocumentStore.from_dict(parameters["document_store"])
        retriever: Self = default_from_dict(cls, {**data, "init_parameters": parameters})
        return retriever

    def close(self) -> None:
        """Close the connection of the store."""
        self._options.document_store.close()

    async def close_async(self) -> None:
        """Close the connection of the store that belongs to the running event loop."""
        await self._options.document_store.close_async()


def policy_of(policy: FilterPolicy | str) -> FilterPolicy:
    """Return a policy, also by its name."""
    return policy if isinstance(policy, FilterPolicy) else FilterPolicy.from_str(policy)


def _hits(groups: Sequence[HitGroup]) -> list[Hit]:
    return [hit for group in groups for hit in group.hits]


def _path(field: str) -> str:
    return field if field.split(".")[0] == META_KEY else f"{META_KEY}.{field}"
