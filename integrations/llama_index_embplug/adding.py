"""LlamaIndex's nodes to batches for a collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias, cast

from llama_index.core.schema import BaseNode, MetadataMode
from numpy.typing import ArrayLike

from embplug import Documents, Encoder, TokenBatch
from embplug.branches.empty import KeptDocuments, OnEmpty, is_blank
from embplug.common.json_types import jsonable_payload
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.rows import aligned, batched, without_empty
from embplug.frameworks.texts import documents_need_text
from llama_index_embplug.nodes import plain_payload, to_payload

TokenEmbeddings: TypeAlias = Mapping[str, ArrayLike] | Sequence[ArrayLike] | TokenBatch
"""Token matrices ``(t, dim)`` of nodes: by the node's id, or one per node in their order."""


class Row(NamedTuple):
    """A node that is added."""

    node: BaseNode
    tokens: ArrayLike | None


PlacedRow: TypeAlias = tuple[int, Row]
"""A row and the position of its node in the call."""


def rows_of_nodes(
    nodes: Iterable[BaseNode], token_embeddings: TokenEmbeddings | None, on_empty: OnEmpty = "raise"
) -> Iterator[PlacedRow]:
    """Yield a row for each node, or for each with a text if ``on_empty`` is ``"skip"``; with its position.

    Raises
    ------
    InvalidArgumentError
        ``nodes`` is a single node or holds something else, or a node has no token matrix among
        ``token_embeddings``.
    LengthMismatchError
        The number of token matrices in a sequence differs from that of nodes.
    """
    if isinstance(nodes, BaseNode):
        raise InvalidArgumentError("nodes", "a list of nodes", "one node")
    return without_empty(_rows_of_nodes(nodes, token_embeddings), _text, on_empty)


def _text(row: Row) -> str:
    return row.node.get_content(MetadataMode.NONE)


def _rows_of_nodes(nodes: Iterable[BaseNode], token_embeddings: TokenEmbeddings | None) -> Iterator[Row]:
    nodes = _checked_nodes(nodes)
    if token_embeddings is None:
        yield from (Row(node, None) for node in nodes)
    elif isinstance(token_embeddings, Mapping):
        for node in nodes:
            yield Row(node, _checked(token_embeddings.get(node.node_id), repr(node.node_id)))
    else:
        pairs = aligned(nodes, "node", token_embeddings=token_embeddings)
        for i, (node, values) in enumerate(pairs):
            yield Row(node, _checked(values["token_embeddings"], str(i)))


def _checked_nodes(nodes: Iterable[Any]) -> Iterator[BaseNode]:
    for i, node in enumerate(nodes):
        if not isinstance(node, BaseNode):
            raise InvalidArgumentError(f"nodes[{i}]", "a node of LlamaIndex", short_repr(node))
        yield node


def peeked(rows: Iterator[PlacedRow]) -> tuple[PlacedRow | None, Iterator[PlacedRow]]:
    """Return the first row, and all rows with it."""
    first = next(rows, None)
    return first, rows if first is None else chain([first], rows)


def node_id(placed: PlacedRow) -> str:
    """Return the id of a row's node."""
    return placed[1].node.node_id


class Batches:
    """Batches for a collection.

    Parameters
    ----------
    shared : FrameworkCollection
        Collection of the store.
    rows : iterable of PlacedRow
        Nodes that are added, with their positions.
    batch_size : int
        Number of nodes in a batch.
    dense_name : str or None
        Name of the dense vector that the nodes' embeddings are. None leaves embeddings aside.
    text_key : str
        Payload field of the text.
    on_empty : {"raise", "skip", "store"}
        What happens to a node whose text is blank.
    sparse_encoder : Encoder, default=None
        Model of the sparse vector. None leaves it to the collection.
    """

    def __init__(
        self,
        shared: FrameworkCollection,
        rows: Iterable[PlacedRow],
        batch_size: int,
        dense_name: str | None,
        text_key: str,
        on_empty: OnEmpty,
        sparse_encoder: Encoder | None = None,
    ) -> None:
        self._shared = shared
        self._rows = rows
        self._batch_size = batch_size
        self._dense_name = dense_name
        self._text_key = text_key
        self._stores_empty = on_empty == "store"
        self._sparse_encoder = sparse_encoder

    def __iter__(self) -> Iterator[Documents]:
        for placed in batched(self._rows, self._batch_size):
            places, batch = zip(*placed, strict=True)
            yield self._documents(batch, places)

    def _documents(self, batch: Sequence[Row], places: Sequence[int]) -> Documents:
        nodes = [row.node for row in batch]
        bare = [self._stores_empty and is_blank(_text(row)) for row in batch]
        tokens = None
        if any(row.tokens is not None for row in batch):
            tokens = [None if empty else row.tokens for empty, row in zip(bare, batch, strict=True)]
        dense: Any = self._embeddings(nodes, places, bare)
        recipe = self._shared.collection.recipe
        encoder = self._sparse_encoder
        # Encoded here: texts that go along would become a field of the payload.
        sparse = None if encoder is None else encoder.encode_documents(_texts(nodes, bare)).sparse
        needs_text = documents_need_text(
            recipe, has_tokens=tokens is not None, dense=dense, has_sparse=sparse is not None
        )
        # Checked before LlamaIndex makes texts of the metadata.
        payloads = [self._payload(node, place) for node, place in zip(nodes, places, strict=True)]
        return KeptDocuments(
            ids=[self._shared.ids.to_collection(node.node_id) for node in nodes],
            tokens=cast(Any, tokens),
            dense=dense,
            texts=_texts(nodes, bare) if needs_text else None,
            payloads=payloads,
            sparse=sparse,
            position=0,
            rows=places,
        )

    def _encodes_dense(self) -> bool:
        """Whether the collection has an encoder, and not the model of its sparse vector alone."""
        collection = self._shared.collection
        if self._sparse_encoder is not None and not self._shared.is_plain:
            return collection.recipe.encoder is not None
        return collection.has_encoder

    def _embeddings(
        self, nodes: Sequence[BaseNode], places: Sequence[int], bare: Sequence[bool]
    ) -> dict[str, Any] | None:
        """Return the nodes' embeddings by the name of the dense vector; None if an encoder makes them.

        A node that is stored without vectors, as ``bare`` says, has None in place of an embedding.
        """
        if self._dense_name is None:
            return None
        missing = [i for i, node in enumerate(nodes) if node.embedding is None and not bare[i]]
        if len(missing) == len(nodes) - sum(bare) and self._encodes_dense():
            return None
        if missing:
            argument = f"nodes[{places[missing[0]]}].embedding"
            expected = "an embedding; an encoder makes those of all nodes of a batch or of none"
            raise InvalidArgumentError(argument, expected, None)
        return {
            self._dense_name: [
                None if empty else node.embedding for empty, node in zip(bare, nodes, strict=True)
            ]
        }

    def _payload(self, node: BaseNode, place: int) -> dict[str, Any]:
        # LlamaIndex writes NaN as null, and fails at numbers of numpy.
        metadata = jsonable_payload(node.metadata, f"nodes[{place}].metadata")
        node = node.model_copy(update={"metadata": metadata})
        return plain_payload(node) if self._shared.is_plain else to_payload(node, self._text_key)


def _texts(nodes: Sequence[BaseNode], bare: Sequence[bool]) -> list[str]:
    """What embedding models see of nodes; nothing of those that are stored without vectors."""
    return [
        "" if empty else node.get_content(MetadataMode.EMBED) for empty, node in zip(bare, nodes, strict=True)
    ]


def _checked(tokens: ArrayLike | None, place: str) -> ArrayLike:
    if tokens is None:
        raise InvalidArgumentError(f"token_embeddings[{place}]", "a token matrix", "none")
    return tokens
