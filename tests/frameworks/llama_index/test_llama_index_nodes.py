"""Nodes from payloads: one that is damaged gives its text, and fails nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llama_index.core.schema import ImageNode, TextNode
from llama_index_embplug.adding import rows_of_nodes
from llama_index_embplug.nodes import TEXT_KEY, from_payload, to_payload

from embplug import Record
from embplug.errors import InvalidArgumentError

NODE = TextNode(id_="n", text="the text", metadata={"year": 2024})
WHOLE = to_payload(NODE, TEXT_KEY)
CONTENT = WHOLE["_node_content"]

DAMAGED: list[Any] = [
    CONTENT[:40],
    CONTENT[:-1],
    "",
    "null",
    "[]",
    "7",
    "{" * 5000,
    "[" * 100_000,
    json.dumps({"metadata": "none"}),
    json.dumps({"relationships": {"9": 1}}),
    7,
    [],
    {"id_": "n"},
    True,
]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content)[:20])
@pytest.mark.parametrize("kind", ["TextNode", "IndexNode", "ImageNode", "Node", None, 7, []])
def test_a_node_that_cannot_be_read_gives_its_text(
    content: Any, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    node = from_payload(Record("n", {**WHOLE, "_node_content": content, "_node_type": kind}), TEXT_KEY)
    if node.metadata:  # what can be read as an empty node has no metadata
        assert node.node_id == "n" and node.metadata == {"year": 2024}
        assert "the node of point n cannot be read" in caplog.text
    if isinstance(node, TextNode):
        assert node.get_content() == "the text"


def test_nodes_come_back_whole() -> None:
    assert from_payload(Record("n", WHOLE), TEXT_KEY) == NODE
    image = ImageNode(id_="i", text="alt", image_url="http://example.org/i.png")
    assert from_payload(Record("i", to_payload(image, TEXT_KEY)), TEXT_KEY) == image


def test_payloads_of_others_become_metadata() -> None:
    node = from_payload(Record(7, {TEXT_KEY: "the text", "a": 1}), TEXT_KEY)
    assert (node.node_id, node.get_content(), node.metadata) == ("7", "the text", {"a": 1})
    assert from_payload(Record(7, None), TEXT_KEY).get_content() == ""


def test_what_is_no_node_is_named():
    nodes: list[Any] = [TextNode(text="a"), "text"]
    with pytest.raises(InvalidArgumentError, match=r"nodes\[1\]: expected a node of LlamaIndex, got 'text'"):
        list(rows_of_nodes(nodes, None))
