"""Nodes to payloads and back, in the layout of LlamaIndex's own stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

TEXT_KEY = "_node_text"
"""Of the text in collections that the store makes; no field of the metadata is called so by chance."""

REF_DOC_KEY = "_ref_doc_id"
"""Of the id of the document that a node is from. ``doc_id``, as others call it, may be a user's field."""

PLAIN_TEXT_KEY = "text"
PLAIN_REF_DOC_KEY = "doc_id"

STAGES_KEY = "_stages"

_CONTENT = "_node_content"
_TYPE = "_node_type"
_OWN = (_CONTENT, _TYPE, REF_DOC_KEY)


def plain_payload(node: BaseNode) -> dict[str, Any]:
    """Payload of a collection that others read too: exactly LlamaIndex's."""
    return node_to_metadata_dict(node, remove_text=False, flat_metadata=False)


def to_payload(node: BaseNode, text_key: str) -> dict[str, Any]:
    """Payload with the node's metadata as its fields, and the text once.

    The three names under which LlamaIndex's stores keep the id of the node's document are there for
    filters, unless the metadata has its own field of that name.
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


def from_payload(
    found_id: int | str, payload: Mapping[str, Any] | None, text_key: str, stages: Mapping[str, float] | None
) -> BaseNode:
    """The node as it was added. A payload that is none shows its other fields as metadata."""
    fields = dict(payload or {})
    text = fields.pop(text_key, None)
    if fields.get(_CONTENT) is None:
        metadata = {key: value for key, value in fields.items() if key not in _OWN}
        node: BaseNode = TextNode(
            id_=str(found_id), text="" if text is None else str(text), metadata=metadata
        )
    else:
        node = metadata_dict_to_node(fields)
        if isinstance(node, TextNode) and not node.text and isinstance(text, str):
            node.text = text
    if stages is not None:
        node.metadata[STAGES_KEY] = dict(stages)
        node.excluded_embed_metadata_keys.append(STAGES_KEY)
        node.excluded_llm_metadata_keys.append(STAGES_KEY)
    return node
