"""Answer a question from documents, with langchain-qdrant: one dense vector per document.

The example langchain_rag.py does the same on embplug.

It runs offline. A stand-in takes the place of the language model: it answers with the first document of its
prompt.

    python examples/langchain_rag_plain_qdrant.py "How do bees find their way?"
"""

import hashlib
import sys

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_qdrant import QdrantVectorStore
from qdrant_client import models

DOCUMENTS = [
    ("Bees find their way by the position of the sun, and by polarized light.", 2019),
    ("Honey is made from nectar that bees carry to the hive.", 2021),
    ("Pigeons find their way by the magnetic field of the earth.", 2020),
    ("A hive has one queen and up to sixty thousand workers.", 2022),
    ("Whales call to one another over hundreds of miles.", 2018),
]


class HashedWords(Embeddings):
    """A stand-in for a model: a text is the sum of its words' vectors, which their hashes seed."""

    def embed_documents(self, texts):
        return [self.encode(text).sum(axis=0).tolist() for text in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]

    def encode(self, text):
        words = [word.strip(".,?!") for word in text.lower().split()]
        seeds = [int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) for word in words]
        rows = np.array([np.random.default_rng(seed).standard_normal(64) for seed in seeds], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


store = QdrantVectorStore.from_documents(
    [Document(text, metadata={"year": year}) for text, year in DOCUMENTS],
    HashedWords(),
    location=":memory:",
    collection_name="docs",
)
recent = models.Filter(must=[models.FieldCondition(key="metadata.year", range=models.Range(gte=2019))])


def retrieve(question):
    return store.similarity_search_with_score(question, k=2, filter=recent)


def show(scored):
    for document, score in scored:
        print(f"{score:7.3f}  {document.page_content}")
    return "\n".join(document.page_content for document, _ in scored)


def stand_in(prompt):
    return prompt.to_string().split("Documents:\n")[1].split("\n")[0]


prompt = ChatPromptTemplate.from_template("Answer from the documents.\nDocuments:\n{context}\n\n{question}")
chain = (
    {"context": RunnableLambda(retrieve) | RunnableLambda(show), "question": RunnablePassthrough()}
    | prompt
    | RunnableLambda(stand_in)
)
question = sys.argv[1] if len(sys.argv) > 1 else "How do bees find their way?"
print(f"\n{question}\n(stand-in model) {chain.invoke(question)}")
