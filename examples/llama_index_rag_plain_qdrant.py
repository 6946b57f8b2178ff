"""Answer a question from documents, with LlamaIndex's own store for Qdrant: one dense vector per node.

The example llama_index_rag.py does the same on embplug.

It runs offline. A stand-in takes the place of the language model: it answers with the first document of its
prompt.

    python examples/llama_index_rag_plain_qdrant.py "How do bees find their way?"
"""

import hashlib
import sys

import numpy as np
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

DOCUMENTS = [
    ("Bees find their way by the position of the sun, and by polarized light.", 2019),
    ("Honey is made from nectar that bees carry to the hive.", 2021),
    ("Pigeons find their way by the magnetic field of the earth.", 2020),
    ("A hive has one queen and up to sixty thousand workers.", 2022),
    ("Whales call to one another over hundreds of miles.", 2018),
]


class HashedWords(BaseEmbedding):
    """A stand-in for a model: a text is the sum of its words' vectors, which their hashes seed."""

    def _get_text_embedding(self, text):
        return self.encode(text).sum(axis=0).tolist()

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)

    def encode(self, text):
        words = [word.strip(".,?!") for word in text.lower().split()]
        seeds = [int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) for word in words]
        rows = np.array([np.random.default_rng(seed).standard_normal(64) for seed in seeds], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class StandIn(CustomLLM):
    """A stand-in for a language model: it answers with the first document of its prompt."""

    @property
    def metadata(self):
        return LLMMetadata(model_name="stand-in")

    def complete(self, prompt, formatted=False, **kwargs):
        documents = [line for line in prompt.split("\n") if line in dict(DOCUMENTS)]
        return CompletionResponse(text=documents[0] if documents else "I do not know.")

    def stream_complete(self, prompt, formatted=False, **kwargs):
        yield self.complete(prompt)


store = QdrantVectorStore("docs", client=QdrantClient(":memory:"))
index = VectorStoreIndex.from_documents(
    [
        Document(text=text, metadata={"year": year}, excluded_embed_metadata_keys=["year"])
        for text, year in DOCUMENTS
    ],
    storage_context=StorageContext.from_defaults(vector_store=store),
    embed_model=HashedWords(),
)
recent = MetadataFilters(filters=[MetadataFilter(key="year", value=2019, operator=">=")])
retriever = index.as_retriever(similarity_top_k=2, filters=recent)
engine = RetrieverQueryEngine.from_args(retriever, llm=StandIn())

question = sys.argv[1] if len(sys.argv) > 1 else "How do bees find their way?"
answer = engine.query(question)
for source in answer.source_nodes:
    print(f"{source.score:7.3f}  {source.node.get_content()}")
print(f"\n{question}\n(stand-in model) {answer}")
