"""A suite for LlamaIndex vector stores, on any of which it runs; LlamaIndex has none of its own.

Subclass :class:`VectorStoreSuite` and override ``store``: an empty store that keeps text, for nodes with
embeddings of ``DIM`` dimensions, with a text index on the field ``title`` where the engine has such.
Each test keeps to the synchronous methods of the store, or to the asynchronous ones.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MetadataMode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from tests.frameworks.conftest import HashedWords

RED, GREEN, BLUE = (str(uuid.UUID(int=i)) for i in (1, 2, 3))
TEXTS = {RED: "red apple on a tree", GREEN: "green apple in a bowl", BLUE: "blue sky over the sea"}
METADATA: dict[str, dict[str, Any]] = {
    RED: {"year": 2019, "score": 0.5, "color": "red", "tags": ["fruit", "tree"], "title": "A Red Apple"},
    GREEN: {"year": 2020, "score": 1.5, "color": "green", "tags": ["fruit"], "title": "Apples, green"},
    BLUE: {"year": 2021, "color": "blue", "tags": [], "nested": {"lang": "en"}, "two words": "x"},
}
LEARNERS = ("svm", "logistic_regression", "linear_regression")
WORDS = ("sparse", "hybrid", "text_search", "semantic_hybrid")


def where(key: str, operator: str, value: Any = None) -> MetadataFilter:
    return MetadataFilter(key=key, operator=FilterOperator(operator), value=value)


def filters(*parts: MetadataFilter | MetadataFilters, condition: str = "and") -> MetadataFilters:
    return MetadataFilters(filters=list(parts), condition=FilterCondition(condition))


FILTERS: dict[str, list[tuple[MetadataFilters, set[str]]]] = {
    "equal": [
        (filters(where("year", "==", 2020)), {GREEN}),
        (filters(where("color", "==", "red")), {RED}),
        (filters(where("score", "==", 0.5)), {RED}),
        (filters(where("nested.lang", "==", "en")), {BLUE}),
    ],
    "equal_of_an_odd_key": [(filters(where("two words", "==", "x")), {BLUE})],
    "not_equal": [
        (filters(where("year", "!=", 2020)), {RED, BLUE}),
        (filters(where("color", "!=", "red")), {GREEN, BLUE}),
    ],
    "not_equal_of_a_float": [(filters(where("score", "!=", 1.5)), {RED, BLUE})],
    "not_equal_where_absent": [(filters(where("nested.lang", "!=", "en")), {RED, GREEN})],
    "bounds": [
        (filters(where("year", ">", 2019)), {GREEN, BLUE}),
        (filters(where("score", ">=", 0.5)), {RED, GREEN}),
        (filters(where("year", "<", 2020)), {RED}),
        (filters(where("score", "<=", 0.5)), {RED}),
    ],
    "in": [
        (filters(where("year", "in", [2019, 2021])), {RED, BLUE}),
        (filters(where("color", "in", ["red", "blue"])), {RED, BLUE}),
        (filters(where("color", "in", [])), set()),
    ],
    "in_floats": [(filters(where("score", "in", [0.5, 7.0])), {RED})],
    "not_in": [(filters(where("year", "nin", [2019, 2021])), {GREEN})],
    "not_in_floats": [(filters(where("score", "nin", [0.5])), {GREEN, BLUE})],
    "any": [(filters(where("tags", "any", ["tree", "sea"])), {RED})],
    "all": [(filters(where("tags", "all", ["fruit", "tree"])), {RED})],
    "contains": [(filters(where("tags", "contains", "fruit")), {RED, GREEN})],
    "is_empty": [
        (filters(where("tags", "is_empty")), {BLUE}),
        (filters(where("score", "is_empty")), {BLUE}),
    ],
    "text_match": [(filters(where("title", "text_match", "Apple")), {RED})],
    "text_match_insensitive": [(filters(where("title", "text_match_insensitive", "aPPle")), {RED})],
    "conditions": [
        (filters(where("year", ">", 2019), where("color", "in", ["red", "green"])), {GREEN}),
        (filters(where("year", "==", 2019), where("color", "==", "blue"), condition="or"), {RED, BLUE}),
        (filters(where("year", "==", 2019), where("color", "==", "blue"), condition="not"), {GREEN}),
    ],
    "nested_conditions": [
        (
            filters(
                where("year", ">=", 2020),
                filters(where("color", "==", "red"), where("color", "==", "blue"), condition="or"),
            ),
            {BLUE},
        ),
        (
            filters(
                where("color", "in", ["red", "green"]),
                filters(filters(where("year", "==", 2019)), condition="not"),
            ),
            {GREEN},
        ),
        (filters(filters(), filters(condition="or")), {RED, GREEN, BLUE}),
    ],
}


def embed(text: str) -> list[float]:
    """Sum of the vectors of the words, at unit length."""
    summed = HashedWords._matrix(text).sum(axis=0)
    return (summed / max(float(np.linalg.norm(summed)), 1e-9)).tolist()


class HashedEmbedding(BaseEmbedding):
    """An embedding model without a model."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)


def node(
    text: str,
    node_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    document: str | None = None,
    kind: type[TextNode] = TextNode,
    **fields: Any,
) -> TextNode:
    item = kind(
        id_=node_id or str(uuid.uuid4()),
        text=text,
        metadata=metadata or {},
        excluded_embed_metadata_keys=[*(metadata or {})],
        embedding=embed(text),
        **fields,
    )
    if document is not None:
        item.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return item


def three() -> list[BaseNode]:
    return [
        node(text, node_id, METADATA[node_id], document="the sky" if node_id == BLUE else "apples")
        for node_id, text in TEXTS.items()
    ]


def query(text: str, k: int = 3, **options: Any) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=embed(text), query_str=text, similarity_top_k=k, **options)


def ids_of(results: VectorStoreQueryResult | list[BaseNode]) -> list[str]:
    nodes = results if isinstance(results, list) else results.nodes
    return [item.node_id for item in nodes or []]


def contents(item: BaseNode) -> dict[str, Any]:
    return {key: value for key, value in item.to_dict().items() if key != "embedding"}


class Calls:
    """The methods of a store, either its synchronous ones or their twins."""

    def __init__(self, store: BasePydanticVectorStore, asynchronous: bool) -> None:
        self.store = store
        self.asynchronous = asynchronous

    async def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        if not self.asynchronous:
            return getattr(self.store, name)(*arguments, **options)
        twin = "async_add" if name == "add" else f"a{name}"
        return await getattr(self.store, twin)(*arguments, **options)


class VectorStoreSuite:
    @pytest.fixture
    def store(self) -> BasePydanticVectorStore:
        """An empty store."""
        raise NotImplementedError("override the fixture 'store'")

    @pytest.fixture(params=["sync", "async"])
    def call(self, request: pytest.FixtureRequest, store: BasePydanticVectorStore) -> Calls:
        return Calls(store, request.param == "async")

    async def test_an_empty_store_has_nothing(self, call: Calls) -> None:
        await call("add", three())
        await call("clear")
        assert ids_of(await call("query", query("red apple"))) == []
        assert list(await call("get_nodes")) == []

    async def test_the_nearest_comes_first(self, call: Calls) -> None:
        assert await call("add", three()) == [RED, GREEN, BLUE]
        results = await call("query", query("green apple in a bowl"))
        assert results.ids[0] == GREEN and sorted(results.ids) == sorted(TEXTS) == sorted(ids_of(results))
        assert results.similarities == sorted(results.similarities, reverse=True)
        assert results.nodes[0].get_content() == TEXTS[GREEN]

    async def test_no_more_than_top_k_are_found(self, call: Calls) -> None:
        await call("add", three())
        assert ids_of(await call("query", query("blue sky over the sea", k=1))) == [BLUE]
        assert len(ids_of(await call("query", query("blue sky", k=50)))) == 3

    async def test_nodes_come_back_as_they_were_added(self, call: Calls) -> None:
        metadata = {
            "none": None,
            "float": 1.0,
            "big": 2**53 + 1,
            "list": [1, "x", None],
            "nested": {"text": "t", "doc_id": "d"},
            "ünï": "\U0001f600",
        }
        original = node(
            "some text",
            RED,
            metadata,
            "its document",
            excluded_llm_metadata_keys=["none"],
            text_template="{content} / {metadata_str}",
            start_char_idx=3,
            end_char_idx=12,
        )
        original.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id=GREEN, metadata={"a": 1})
        await call("add", [original])
        for results in [await call("get_nodes", [RED]), (await call("query", query("some text"))).nodes]:
            assert contents(results[0]) == contents(original)
            assert type(results[0].metadata["float"]) is float and results[0].ref_doc_id == "its document"

    @pytest.mark.parametrize("key", ["text", "doc_id", "metadata"])
    async def test_metadata_may_have_any_field(self, call: Calls, key: str) -> None:
        await call("add", [node("red apple", RED, {key: "mine"}, "apples"), node("pear", GREEN, {key: "x"})])
        mine = await call("query", query("red apple", filters=filters(where(key, "==", "mine"))))
        assert ids_of(mine) == [RED]
        assert mine.nodes[0].metadata == {key: "mine"} and mine.nodes[0].get_content() == "red apple"
        await call("delete", "mine")
        assert len(await call("get_nodes", [RED, GREEN])) == 2
        await call("delete", "apples")
        assert ids_of(await call("get_nodes", [RED, GREEN])) == [GREEN]

    async def test_kinds_of_nodes_are_kept(self, call: Calls) -> None:
        nodes = [
            node("an index", RED, kind=IndexNode, index_id="other"),
            node("an image", GREEN, kind=ImageNode, image_url="http://images/1"),
        ]
        await call("add", nodes)
        results = await call("get_nodes", [RED, GREEN])
        by_id = {item.node_id: item for item in results}
        assert isinstance(by_id[RED], IndexNode) and by_id[RED].index_id == "other"
        assert isinstance(by_id[GREEN], ImageNode) and by_id[GREEN].image_url == "http://images/1"

    async def test_adding_again_replaces(self, call: Calls) -> None:
        for _ in range(2):
            await call("add", three())
        assert len(ids_of(await call("query", query("apple", k=10)))) == 3
        await call("add", [node("yellow pear", RED, {"year": 1})])
        results = await call("query", query("yellow pear", k=10))
        assert len(results.nodes) == 3 and results.nodes[0].get_content() == "yellow pear"
        assert results.nodes[0].metadata == {"year": 1}

    async def test_adding_nothing_is_no_error(self, call: Calls) -> None:
        assert await call("add", []) == []

    async def test_any_string_is_an_id(self, call: Calls) -> None:
        ids = ["7", "a/b c", "Ünï", uuid.uuid4().hex, "x" * 300]
        nodes = [node(f"word{i} common", node_id, document="d") for i, node_id in enumerate(ids)]
        assert await call("add", nodes) == ids
        assert ids_of(await call("query", query("word2 common", k=1))) == [ids[2]]
        assert sorted(ids_of(await call("get_nodes", ids))) == sorted(ids)
        await call("delete_nodes", ids[:2])
        assert sorted(ids_of(await call("get_nodes", ids))) == sorted(ids[2:])

    async def test_a_document_is_deleted_with_its_nodes(self, call: Calls) -> None:
        await call("add", three())
        await call("delete", "apples")
        assert ids_of(await call("query", query("apple"))) == [BLUE]
        await call("delete", "never there")
        assert ids_of(await call("get_nodes")) == [BLUE]

    async def test_nodes_are_deleted_by_ids(self, call: Calls) -> None:
        await call("add", three())
        await call("delete_nodes", [RED, str(uuid.uuid4())])
        assert set(ids_of(await call("get_nodes"))) == {GREEN, BLUE}

    async def test_nodes_are_deleted_by_filters(self, call: Calls) -> None:
        await call("add", three())
        await call("delete_nodes", filters=filters(where("year", ">=", 2020)))
        assert ids_of(await call("get_nodes")) == [RED]

    async def test_nodes_are_deleted_by_ids_and_filters(self, call: Calls) -> None:
        await call("add", three())
        await call("delete_nodes", [RED, GREEN], filters(where("year", ">=", 2020)))
        assert set(ids_of(await call("get_nodes"))) == {RED, BLUE}

    async def test_deleting_no_ids_deletes_nothing(self, call: Calls) -> None:
        await call("add", three())
        await call("delete_nodes", [])
        assert len(await call("get_nodes")) == 3

    async def test_nodes_are_read_by_ids(self, call: Calls) -> None:
        await call("add", three())
        results = await call("get_nodes", [BLUE, str(uuid.uuid4()), RED])
        assert sorted(ids_of(results)) == sorted([BLUE, RED])
        assert {item.node_id: item.get_content() for item in results}[BLUE] == TEXTS[BLUE]
        assert list(await call("get_nodes", [])) == []

    async def test_nodes_are_read_by_filters(self, call: Calls) -> None:
        await call("add", three())
        by_filter = await call("get_nodes", filters=filters(where("tags", "==", "fruit")))
        assert set(ids_of(by_filter)) == {RED, GREEN}
        both = await call("get_nodes", [GREEN, BLUE], filters(where("tags", "==", "fruit")))
        assert ids_of(both) == [GREEN]

    async def test_all_nodes_are_read(self, store: BasePydanticVectorStore) -> None:
        nodes = [node("word", str(uuid.UUID(int=i))) for i in range(300)]
        store.add(nodes)
        assert set(ids_of(store.get_nodes())) == set(ids_of(nodes))

    async def test_a_cleared_store_is_filled_again(self, call: Calls) -> None:
        await call("add", three())
        await call("clear")
        await call("add", three()[:1])
        assert ids_of(await call("query", query("apple"))) == [RED]

    async def test_search_among_documents(self, call: Calls) -> None:
        await call("add", three())
        results = await call("query", query("red apple", doc_ids=["the sky"]))
        assert ids_of(results) == [BLUE]
        both = await call("query", query("red apple", doc_ids=["the sky", "apples"]))
        assert len(both.nodes) == 3

    async def test_search_among_nodes(self, call: Calls) -> None:
        await call("add", three())
        results = await call("query", query("red apple", node_ids=[BLUE, GREEN]))
        assert set(ids_of(results)) == {BLUE, GREEN}

    async def test_mmr_passes_over_a_duplicate(self, call: Calls) -> None:
        await call("add", [node("red apple", RED), node("red apple", GREEN), node("red car", BLUE)])
        assert set(ids_of(await call("query", query("red apple", k=2)))) == {RED, GREEN}
        varied = query("red apple", k=2, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.1)
        assert BLUE in ids_of(await call("query", varied))
        filtered = query("x", mode=VectorStoreQueryMode.MMR, filters=filters(where("year", "==", 1)))
        assert ids_of(await call("query", filtered)) == []

    @pytest.mark.parametrize("mode", [*WORDS, *LEARNERS])
    async def test_a_mode_that_it_has_not_is_an_error(
        self, store: BasePydanticVectorStore, mode: str
    ) -> None:
        store.add(three())
        with pytest.raises((ValueError, NotImplementedError)):
            store.query(query("red apple", mode=VectorStoreQueryMode(mode)))

    async def test_a_mode_that_it_has_not_is_an_error_asynchronously(
        self, store: BasePydanticVectorStore
    ) -> None:
        await store.async_add(three())
        for mode in (*WORDS, *LEARNERS):
            with pytest.raises((ValueError, NotImplementedError)):
                await store.aquery(query("red apple", mode=VectorStoreQueryMode(mode)))

    @pytest.mark.parametrize("name", [*FILTERS])
    async def test_a_filter_finds_what_it_says(self, store: BasePydanticVectorStore, name: str) -> None:
        store.add(three())
        for conditions, expected in FILTERS[name]:
            assert set(ids_of(store.query(query("apple", filters=conditions)))) == expected

    async def test_filters_find_what_they_say_asynchronously(self, store: BasePydanticVectorStore) -> None:
        await store.async_add(three())
        for name in ("equal", "bounds", "in", "is_empty", "nested_conditions"):
            for conditions, expected in FILTERS[name]:
                assert set(ids_of(await store.aquery(query("apple", filters=conditions)))) == expected

    async def test_one_sees_what_the_other_has_added(self, store: BasePydanticVectorStore) -> None:
        store.add(three()[:2])
        await store.async_add(three()[2:])
        assert len(store.query(query("apple")).ids or []) == 3
        assert len((await store.aquery(query("apple"))).ids or []) == 3

    async def test_an_index_is_built_and_searched(self, store: BasePydanticVectorStore) -> None:
        documents = [Document(text=text, id_=node_id) for node_id, text in TEXTS.items()]
        context = StorageContext.from_defaults(vector_store=store)
        VectorStoreIndex.from_documents(
            documents, storage_context=context, embed_model=HashedEmbedding(), use_async=False
        )
        index = VectorStoreIndex.from_vector_store(store, HashedEmbedding())
        retrieved = index.as_retriever(similarity_top_k=1).retrieve("green apple in a bowl")
        assert [item.node.ref_doc_id for item in retrieved] == [GREEN] and retrieved[0].score
        assert retrieved[0].node.get_content(MetadataMode.NONE) == TEXTS[GREEN]
        index.delete_ref_doc(GREEN)
        assert len(store.get_nodes()) == 2

    async def test_an_index_is_filled_and_searched_asynchronously(
        self, store: BasePydanticVectorStore
    ) -> None:
        index = VectorStoreIndex.from_vector_store(store, HashedEmbedding())
        await index.ainsert_nodes(three())
        retrieved = await index.as_retriever(similarity_top_k=1).aretrieve("green apple in a bowl")
        assert [item.node.node_id for item in retrieved] == [GREEN] and retrieved[0].score
        await index.adelete_ref_doc("apples")
        await index.adelete_nodes([BLUE])
        assert list(await store.aget_nodes()) == []

    async def test_it_is_told_as_json(self, store: BasePydanticVectorStore) -> None:
        data = json.loads(store.to_json())
        assert data["class_name"] == store.class_name() == type(store).__name__
