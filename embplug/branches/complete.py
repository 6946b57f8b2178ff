"""Checked documents made complete: vectors from the encoder, fewer tokens where the recipe reduces them."""

from __future__ import annotations

from embplug.branches.base import Item
from embplug.branches.documents import CheckedDocuments
from embplug.branches.pipeline import Pipeline
from embplug.branches.prepare import takers
from embplug.common.telemetry import span


def complete_documents(documents: CheckedDocuments, pipeline: Pipeline) -> CheckedDocuments:
    """Let the encoder make the vectors that the documents lack, then pool and prune their tokens.

    Parameters
    ----------
    documents : CheckedDocuments
        Documents with vectors, or with texts for the encoder.
    pipeline : Pipeline
        The recipe with its branches and its encoder.

    Returns
    -------
    CheckedDocuments
        Documents that :meth:`Pipeline.encode` takes.

    Raises
    ------
    InvalidArgumentError
        The encoder does not make what a branch needs.
    """
    if documents.texts is not None and not documents.has_vectors(pipeline.recipe):
        encoder = pipeline.models.encoder
        with span("encode_documents", encoder=encoder.spec, texts=len(documents.texts)):
            encoded = encoder.encode_documents(documents.texts)
        lacking = [branch for branch in pipeline.branches.values() if not branch.has_documents(documents)]
        for branch in takers(lacking, encoder.spec):
            documents = branch.take_documents(documents, encoded, encoder.spec)
    return reduce_tokens(documents, pipeline)


def reduce_tokens(item: Item, pipeline: Pipeline) -> Item:
    """Documents or a sample with fewer tokens, where the recipe pools or prunes them.

    Raises
    ------
    InvalidArgumentError
        The recipe prunes by saliency, and there is none.
    """
    for branch in pipeline.branches.values():
        item = branch.reduce(item)
    return item
