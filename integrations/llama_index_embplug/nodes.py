"""Nodes to payloads and back, in the layout of LlamaIndex's own stores."""

from __future__ import annotations

import json
import logging
from typing import Any

from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from embplug import Hit, Record

logger = logging.getLogger(__name__)

TEXT_KEY = "_node_text"
"""Payload field of the text in new collections; hardly a field of the metadata has this name."""

REF_DOC_KEY = "_ref_doc_id"
"""Payload field with the id of the node's document; ``doc_id`` may be a field of the metadata."""

PLAIN_TEXT_KEY = "text"
PLAIN_REF_DOC_KEY = "doc_id"
"""The same two fields in the collections of LlamaIndex's own store."""

STAGES_KEY = "_stages"
EXPLANATION_KEY = "_explanation"
"""Field of the metadata with the score of each stage."""

_CONTENT = "_node_content"
_TYPE = "_node_type"
_OWN = (_CONTENT, _TYPE, REF_DOC_KEY)


def plain_payload(node: BaseNode) -> dict[str, Any]:
    """Return the payload of a node in a collection of LlamaIndex's own store: exactly LlamaIndex's."""
    return node_to_metadata_dict(node, remove_text=False, flat_metadata=False)


def to_payload(node: BaseNode, text_key: str) -> dict[str, Any]:
    """Return the payload of a node: the fields of its metadata, and its text once.

    LlamaIndex's stores keep the id of the node's document under three names. The payload has them for
    filters, unless the metadata has a field of the same name.

    Parameters
    ----------
    node : BaseNode
        Node that is added.
    text_key : str
        Payload field of the text.

    Returns
    -------
    dict
        Payload of the node.
    """
    content = node.model_dump(mode="json")
    metadata = dict(content.get("metadata", {}))
    content["embedding"] = None
    if isinstance(node, TextNode):
        content["text"] = ""
    document = node.ref_doc_id
    ids = {} if document is None else dict.fromkeys(("doc_id", "document_id", "ref_doc_id"), document)
    own = {_CONTENT: json.dumps(content, ensure_ascii=False), _TYPE: node.class_name()}
    if document is not None:
        own[REF_DOC_KEY] = document
    return {**ids, **metadata, **own, text_key: node.get_content()}


def from_payload(stored: Record | Hit, text_key: str) -> BaseNode:
    """Return a node as it was added; the stages and the explanation of a hit go into its metadata.

    If the payload is not that of a node, or its node cannot be read, its fields other than the text become
    metadata: one damaged point does not fail a query.

    Parameters
    ----------
    stored : Record or Hit
        What the collection returns.
    text_key : str
        Payload field of the text.

    Returns
    -------
    BaseNode
        The node.
    """
    fields = dict(stored.payload or {})
    text = fields.pop(text_key, None)
    node = _stored_node(fields, stored.id)
    if node is None:
        metadata = {key: value for key, value in fields.items() if key not in _OWN}
        content = "" if text is None else str(text)
        node = TextNode(id_=str(stored.id), text=content, metadata=metadata)
    elif isinstance(node, TextNode) and not node.text and isinstance(text, str):
        node.text = text
    if isinstance(stored, Hit):
        if stored.stages is not None:
            _add_unseen(node, STAGES_KEY, dict(stored.stages))
        if stored.explanation is not None:
            _add_unseen(node, EXPLANATION_KEY, stored.explanation.to_dict())
    return node


def _add_unseen(node: BaseNode, key: str, value: Any) -> None:
    """Put a value into the metadata, which neither embeddings nor language models see."""
    node.metadata[key] = value
    node.excluded_embed_metadata_keys.append(key)
    node.excluded_llm_metadata_keys.append(key)


def _stored_node(fields: dict[str, Any], id_: Any) -> BaseNode | None:
    """The node of a payload without its text, or None if there is none that can be read."""
    if fields.get(_CONTENT) is None:
        return None
    try:
        return metadata_dict_to_node(fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        logger.warning("the node of point %s cannot be read, only its text is returned: %s", id_, error)
        return None
