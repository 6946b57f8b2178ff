"""Answer a question from documents, with LlamaIndex on embplug.

The example llama_index_rag_plain_qdrant.py does the same on plain Qdrant.

It runs offline. A stand-in takes the place of the language model: it answers with the first document of its
prompt. In an application, use a language model, and an encoder such as "minilm".

    python examples/llama_index_rag.py "How do bees find their way?"
"""

import hashlib
import sys

import numpy as np
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index_embplug import EmbplugRetriever, EmbplugVectorStore

from embplug import Encoded, Recipe, TokenBatch, Tokens

DOCUMENTS = [
    ("Bees find their way by the position of the sun, and by polarized light.", 2019),
    ("Honey is made from nectar that bees carry to the hive.", 2021),
    ("Pigeons find their way by the magnetic field of the earth.", 2020),
    ("A hive has one queen and up to sixty thousand workers.", 2022),
    ("Whales call to one another over hundreds of miles.", 2018),
]


class HashedWords:
    """A stand-in for a model: the hash of a word seeds its unit vector."""

    spec = "hashed-words"

    def encode_documents(self, texts):
        return Encoded(tokens=TokenBatch.from_list([self.encode(text) for text in texts]))

    encode_queries = encode_documents

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


store = EmbplugVectorStore("docs", ":memory:", encoder=HashedWords(), recipe=Recipe(tokens=Tokens(dim=64)))
VectorStoreIndex.from_documents(
    [
        Document(text=text, metadata={"year": year}, excluded_embed_metadata_keys=["year"])
        for text, year in DOCUMENTS
    ],
    storage_context=StorageContext.from_defaults(vector_store=store),
    embed_model=MockEmbedding(embed_dim=1),  # the store's encoder does the work
)
recent = MetadataFilters(filters=[MetadataFilter(key="year", value=2019, operator=">=")])
retriever = EmbplugRetriever(store, similarity_top_k=2, filters=recent, with_stages=True)
engine = RetrieverQueryEngine.from_args(retriever, llm=StandIn())

question = sys.argv[1] if len(sys.argv) > 1 else "How do bees find their way?"
answer = engine.query(question)
for source in answer.source_nodes:
    print(f"{source.score:7.3f}  {source.node.get_content()}  {source.node.metadata['_stages']}")
print(f"\n{question}\n(stand-in model) {answer}")
