"""Answer a question from documents, with Haystack on embplug.

The example haystack_rag_plain_qdrant.py does the same on plain Qdrant.

It runs offline. A stand-in takes the place of the language model: it answers with the first document of its
prompt. In an application, use a generator of Haystack, and an encoder such as "minilm".

    python examples/haystack_rag.py "How do bees find their way?"
"""

import hashlib
import sys

import numpy as np
from haystack import Document, Pipeline, component
from haystack.components.builders import PromptBuilder
from haystack_embplug import EmbplugDocumentStore, EmbplugTokenRetriever

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


@component
class StandIn:
    @component.output_types(replies=list[str])
    def run(self, prompt: str):
        return {"replies": [prompt.split("Documents:\n")[1].split("\n")[0]]}


store = EmbplugDocumentStore(":memory:", encoder=HashedWords(), recipe=Recipe(tokens=Tokens(dim=64)))
store.write_documents([Document(content=text, meta={"year": year}) for text, year in DOCUMENTS])
recent = {"field": "meta.year", "operator": ">=", "value": 2019}
template = """Answer from the documents.
Documents:
{% for document in documents %}{{ document.content }}
{% endfor %}
{{ question }}"""

pipeline = Pipeline()
pipeline.add_component("retriever", EmbplugTokenRetriever(store, top_k=2, filters=recent))
pipeline.add_component("prompt", PromptBuilder(template, required_variables=["documents", "question"]))
pipeline.add_component("model", StandIn())
pipeline.connect("retriever", "prompt.documents")
pipeline.connect("prompt", "model")

question = sys.argv[1] if len(sys.argv) > 1 else "How do bees find their way?"
inputs = {"retriever": {"query": question}, "prompt": {"question": question}}
result = pipeline.run(inputs, include_outputs_from={"retriever"})
for document in result["retriever"]["documents"]:
    print(f"{document.score:7.3f}  {document.content}")
print(f"\n{question}\n(stand-in model) {result['model']['replies'][0]}")
