"""Tiny models of real classes, with random weights, saved to folders as their libraries save them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

WORDS = "how do i parse a date string the cat sat on mat dog barks at moon rivers flow north query document"
VOCABULARY = [
    *("[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[Q]", "[D]"),
    *string.punctuation,
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *(word for word in WORDS.split() if len(word) > 1),
]
TEXTS = ["The cat sat on a mat.", "How do I parse a date string?", "cat, dog: moon! Zebra", "rivers"]
HIDDEN = 32


def tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"))


def bert(folder: Path, *, masked: bool = False, seed: int = 0, dtype: str = "float32") -> str:
    """A BERT of two layers and 32 dimensions; with ``masked`` it has the head that SPLADE needs."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    model = (BertForMaskedLM if masked else BertModel)(config).eval()
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return str(folder)


def sentence_model(
    folder: Path, *, seed: int = 0, prompts: dict[str, str] | None = None, **options: Any
) -> str:
    """A ``SentenceTransformer`` with mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    backbone = Transformer(bert(folder / "bert", seed=seed, **options))
    modules = [backbone, Pooling(backbone.get_embedding_dimension(), "mean")]
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder / "saved"))
    return str(folder / "saved")


def late_interaction_model(folder: Path, *, seed: int = 0, pool: int | None = None, **options: Any) -> str:
    """A ``MultiVectorEncoder`` with projection, prefixes, query expansion and a skip list."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

    backbone = Transformer(
        bert(folder / "bert", seed=seed, **options),
        document_length=20,
        query_expansion={"strategy": "fixed", "attend": False, "length": 12},
    )
    projection = Dense(
        HIDDEN, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"
    )
    modules = [backbone, projection, MultiVectorMask(skiplist_words=list(string.punctuation))]
    modules.append(Normalize(module_input_name="token_embeddings"))
    if pool is not None:
        modules.append(HierarchicalTokenPooling(pool_factor=pool))
    prompts = {"query": "query ", "document": "document "}
    model = MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu")
    model.save(str(folder / "saved"))
    return str(folder / "saved")


def stanford_model(folder: Path) -> str:
    """A checkpoint of Stanford's ColBERT: its own architecture, a projection among the weights, metadata."""
    import torch
    from safetensors.torch import load_file, save_file

    bert(folder)
    weights = load_file(folder / "model.safetensors")
    weights = {f"bert.{name}": values for name, values in weights.items()}
    torch.manual_seed(1)
    save_file(
        {**weights, "linear.weight": torch.randn(8, HIDDEN)}, folder / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 10,
        "doc_maxlen": 20,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata), encoding="utf-8")
    return str(folder)


def pylate_model(folder: Path) -> str:
    """A checkpoint as PyLate 3 saves it: transformer and projection, the rest in the configuration."""
    saved = Path(late_interaction_model(folder))
    modules = json.loads((saved / "modules.json").read_text(encoding="utf-8"))[:2]
    (saved / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    config = {
        "model_type": "ColBERT",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 10,
        "document_length": 20,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
    }
    (saved / "config_sentence_transformers.json").write_text(json.dumps(config), encoding="utf-8")
    return str(saved)


def sparse_model(folder: Path) -> str:
    """A ``SparseEncoder`` of the kind of SPLADE."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    backbone = Transformer(bert(folder / "bert", masked=True), transformer_task="fill-mask")
    SparseEncoder(modules=[backbone, SpladePooling("max")], device="cpu").save(str(folder / "saved"))
    return str(folder / "saved")
