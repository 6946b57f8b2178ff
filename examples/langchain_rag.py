"""Answer a question from documents, with LangChain on embplug.

The example langchain_rag_plain_qdrant.py does the same on plain Qdrant.

It runs offline. A stand-in takes the place of the language model: it answers with the first document of its
prompt. In an application, use a chat model, and an encoder such as "minilm".

    python examples/langchain_rag.py "How do bees find their way?"
"""

import hashlib
import sys

import numpy as np
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_embplug import EmbplugRetriever, EmbplugVectorStore

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


store = EmbplugVectorStore(":memory:", "docs", encoder=HashedWords(), recipe=Recipe(tokens=Tokens(dim=64)))
store.add_documents(Document(text, metadata={"year": year}) for text, year in DOCUMENTS)
retriever = EmbplugRetriever(vectorstore=store, k=2, filter={"year": {"$gte": 2019}}, with_scores=True)


def show(documents):
    for document in documents:
        print(f"{document.metadata['_score']:7.3f}  {document.page_content}  {document.metadata['_stages']}")
    return "\n".join(document.page_content for document in documents)


def stand_in(prompt):
    return prompt.to_string().split("Documents:\n")[1].split("\n")[0]


prompt = ChatPromptTemplate.from_template("Answer from the documents.\nDocuments:\n{context}\n\n{question}")
chain = (
    {"context": retriever | RunnableLambda(show), "question": RunnablePassthrough()}
    | prompt
    | RunnableLambda(stand_in)
)
question = sys.argv[1] if len(sys.argv) > 1 else "How do bees find their way?"
print(f"\n{question}\n(stand-in model) {chain.invoke(question)}")
