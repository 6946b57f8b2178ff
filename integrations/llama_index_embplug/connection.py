"""Opens the collection of a store."""

from __future__ import annotations

from qdrant_client import models

from embplug import Encoder, Recipe, Sparse
from embplug.engines import Engine, traits_of
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.defaults import default_recipe, with_text_key
from embplug.frameworks.opening import open_or_create
from embplug.frameworks.sparse_texts import check_sparse_model, take_sparse_model
from llama_index_embplug.nodes import PLAIN_TEXT_KEY, REF_DOC_KEY, TEXT_KEY

_HOW_TO_COMPRESS = (
    "run `embplug migrate` (docs/migrating.md), which embeds nothing again; or fill another store: "
    "VectorStoreIndex(store.get_nodes(), storage_context=StorageContext.from_defaults("
    "vector_store=EmbplugVectorStore('another name', client, recipe=...)))"
)


def open_collection(
    client: Engine,
    name: str,
    encoder: Encoder | None,
    *,
    recipe: Recipe | None,
    dim: int | None,
    vector_name: str,
    text_key: str | None,
    distance: models.Distance,
    create: bool,
    sparse_encoder: Encoder | None = None,
    sparse_vector_name: str = "",
) -> FrameworkCollection:
    """Open the collection of a store, or create it.

    Parameters
    ----------
    client, name, encoder, recipe, vector_name, text_key, distance, create
        See :class:`EmbplugVectorStore`. Without recipe, dimension and encoder, no collection is created.
    dim : int or None
        Dimension of the nodes' embeddings, if it is known.
    sparse_encoder : Encoder, default=None
        Model of the sparse vector, which a new collection without recipe has if there is a model.
    sparse_vector_name : str, default=""
        See :class:`EmbplugVectorStore`.

    Returns
    -------
    FrameworkCollection
        The collection.
    """

    def default() -> Recipe:
        recipe = default_recipe(dim, encoder, vector_name, distance)
        return recipe if sparse_encoder is None else recipe.replaced(sparse=Sparse(kind="learned"))

    def adapt(recipe: Recipe) -> Recipe:
        # Before a collection is created that the model does not fit.
        if sparse_encoder is not None:
            check_sparse_model(recipe, sparse_encoder, encoder, "sparse_doc_fn")
        return _adapted(recipe, client, text_key)

    has_recipe = recipe is not None or dim is not None or encoder is not None

    collection, is_plain = open_or_create(
        name,
        client,
        encoder,
        recipe=recipe,
        adapt=adapt,
        default=default if create and has_recipe else None,
        vector_name=vector_name,
        text_key=text_key or PLAIN_TEXT_KEY,
        how_to_compress=_HOW_TO_COMPRESS,
        sparse_encoder=sparse_encoder,
        sparse_vector=(sparse_vector_name or None) if sparse_encoder is not None else None,
    )
    if sparse_encoder is not None and not is_plain:
        take_sparse_model(collection, sparse_encoder, encoder, "sparse_doc_fn")
    return FrameworkCollection(collection, is_plain)


def _adapted(recipe: Recipe, client: Engine, text_key: str | None) -> Recipe:
    """Return the recipe with the payload field of the text, and an index on the documents' ids."""
    adapted = with_text_key(recipe, text_key, TEXT_KEY)
    # The simulation builds no indexes, and warns each time.
    if not traits_of(client).indexes_payloads:
        return adapted
    indexes = {REF_DOC_KEY: models.PayloadSchemaType.KEYWORD} | recipe.payload_indexes
    return adapted.model_copy(update={"payload_indexes": indexes})
