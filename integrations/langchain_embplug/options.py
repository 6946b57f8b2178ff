"""Optional keyword arguments that several methods of the store take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, cast

from qdrant_client import models

from embplug import Encoder, Fusion, Recipe
from embplug.branches.empty import OnEmpty
from embplug.frameworks.connection import ConnectionOptions
from embplug.frameworks.ids import DocumentId
from langchain_embplug.filters import Filter


class StoreOptions(ConnectionOptions, total=False):
    """Where the engine is, and the further arguments of :class:`EmbplugVectorStore`."""

    encoder: Encoder | str | None
    recipe: Recipe | None
    vector_name: str
    content_payload_key: str | None
    metadata_payload_key: str
    distance: models.Distance
    point_metadata: bool | None
    retrieval_mode: Any
    sparse_embedding: Any
    vector_params: Mapping[str, Any] | None
    collection_create_options: Mapping[str, Any] | None
    validate_embeddings: bool
    validate_collection_config: bool


class AddOptions(TypedDict, total=False):
    """Options of adding; see :meth:`EmbplugVectorStore.add_texts`."""

    ids: Iterable[DocumentId | None] | None
    batch_size: int
    progress: bool | None
    on_empty: OnEmpty
    wait: bool
    ordering: models.WriteOrdering | None
    shard_key_selector: models.ShardKeySelector | None


class FromTextsOptions(StoreOptions, AddOptions, total=False):
    """Options of a new store with texts; see :meth:`EmbplugVectorStore.from_texts`."""

    collection_name: str | None
    force_recreate: bool


class MmrOptions(TypedDict, total=False):
    """Options of a search by maximal marginal relevance; see :meth:`EmbplugVectorStore.similarity_search`."""

    filter: Filter | None
    search_params: models.SearchParams | None
    score_threshold: float | None
    consistency: models.ReadConsistency | None
    shard_key_selector: models.ShardKeySelector | None
    timeout: int | None


class SearchOptions(TypedDict, total=False):
    """Options of a search; see :meth:`EmbplugVectorStore.similarity_search`."""

    search_params: models.SearchParams | None
    score_threshold: float | None
    offset: int
    with_stages: bool
    explain: bool
    hybrid_fusion: models.FusionQuery | models.RrfQuery | Fusion | None
    consistency: models.ReadConsistency | None
    shard_key_selector: models.ShardKeySelector | None
    timeout: int | None


def split_from_texts(options: FromTextsOptions) -> tuple[str | None, bool, StoreOptions, AddOptions]:
    """Split the options of :meth:`EmbplugVectorStore.from_texts` by what they are for.

    Returns
    -------
    collection_name : str or None
        Name of the collection.
    force_recreate : bool
        True if a collection of that name is deleted first.
    opening : StoreOptions
        Options of opening the store.
    adding : AddOptions
        Options of adding. A progress bar is shown on a terminal unless they say otherwise.
    """
    others: dict[str, Any] = {**options}
    name = others.pop("collection_name", None)
    force_recreate = others.pop("force_recreate", False)
    adding = {name: others.pop(name) for name in AddOptions.__annotations__ if name in others}
    opening = cast(StoreOptions, others)
    return name, force_recreate, opening, cast(AddOptions, {"progress": None, **adding})
