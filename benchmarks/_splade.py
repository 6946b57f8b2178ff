"""A tiny model of the class of SPLADE, whose weights are set and not trained.

No trained model of learned sparse vectors comes in a package. This one has random embeddings and one layer
that changes them little, so that the logit of a word piece is high where the text has it. A bias leaves out
the others, but for a few. It weighs terms about as a count of words does, and goes the whole way of SPLADE:
tokenizer, model, pooling, encoder, collection.
"""

from __future__ import annotations

from pathlib import Path

HIDDEN = 64
DEVIATIONS = 4.0
"""Standard deviations of the logits of unrelated word pieces that the bias takes from all logits."""


def save_model(folder: Path) -> str:
    """Save the model, and return the name by which recipes load it."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    import embplug.encoders

    vocabulary = Path(embplug.encoders.__file__).parent / "bert_uncased_vocabulary.txt"
    tokenizer = BertTokenizerFast(str(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=512,
    )
    model = BertForMaskedLM(config).eval()
    head = model.cls.predictions
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.normal_()
        head.transform.dense.weight.copy_(torch.eye(HIDDEN))
        head.bias.fill_(-DEVIATIONS * HIDDEN**0.5)
    backbone = folder / "backbone"
    model.save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    modules = [Transformer(str(backbone), transformer_task="fill-mask"), SpladePooling("max")]
    SparseEncoder(modules=modules, device="cpu").save(str(folder / "saved"))
    return f"sentence-transformers:{folder / 'saved'}"
