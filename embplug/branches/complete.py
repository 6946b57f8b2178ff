"""Checked documents made complete: vectors from the encoder, fewer tokens where the recipe reduces them."""

from __future__ import annotations

from dataclasses import replace

from embplug.branches.base import Item
from embplug.branches.documents import CheckedDocuments
from embplug.branches.images import checked_encoded, encode_images, text_encoder
from embplug.branches.pipeline import Pipeline
from embplug.branches.points import with_fields
from embplug.branches.prepare import by_encoder, takers
from embplug.common.ids import GRID
from embplug.common.telemetry import span
from embplug.encoders import Encoded


def complete_documents(documents: CheckedDocuments, pipeline: Pipeline) -> CheckedDocuments:
    """Let the encoder make the vectors that the documents lack, then pool and prune their tokens.

    Grids of patches go into the payloads, because explanations of hits read them.

    Parameters
    ----------
    documents : CheckedDocuments
        Documents with vectors, or with images or texts for the encoder.
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
    if not documents.has_vectors(pipeline.recipe):
        lacking = [branch for branch in pipeline.branches.values() if not branch.has_documents(documents)]
        for name, own in by_encoder(lacking).items():
            encoder = pipeline.models.encoder_named(name)
            encoded: Encoded
            # An encoder of the sparse vector alone reads texts, also of documents with images.
            if documents.images is not None and name is None:
                with span("encode_images", encoder=encoder.spec, images=len(documents.images)):
                    encoded = encode_images(encoder, documents.images)
            elif documents.texts is not None:
                with span("encode_documents", encoder=encoder.spec, texts=len(documents.texts)):
                    encoded = text_encoder(encoder).encode_documents(documents.texts)
                encoded = checked_encoded(encoded, encoder.spec)
            else:
                continue
            for branch in takers(own, encoder.spec):
                documents = branch.take_documents(documents, encoded, encoder.spec)
    if documents.grids is not None:
        grids = documents.grids.tolist()
        payloads = [
            with_fields(payload, {GRID: grid}) if grid[0] else payload
            for payload, grid in zip(documents.payloads, grids, strict=True)
        ]
        documents = replace(documents, payloads=payloads)
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
