"""Tiny models of pages, with random weights: ColPali with a fixed grid, ColQwen2 with one for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WORDS = ["Describe", "the", "image", ".", "Question", ":", "Query", "cat", "dog", "moon", "table", "user"]


def word_tokenizer(specials: list[str], **names: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys([*specials, *WORDS])
    model = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>", **names)
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    return tokenizer


def colpali(folder: Path) -> str:
    """A ColPali with 4 x 4 patches of 7 pixels and token vectors of 8 dimensions."""
    import torch
    from transformers import ColPaliConfig, ColPaliForRetrieval, ColPaliProcessor, SiglipImageProcessor

    tokenizer = word_tokenizer(
        ["<pad>", "<eos>", "<bos>", "<unk>"], pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )
    images = SiglipImageProcessor(size={"height": 28, "width": 28})
    images.image_seq_length = 16
    processor = ColPaliProcessor(image_processor=images, tokenizer=tokenizer)
    text = {
        "model_type": "gemma",
        "vocab_size": len(tokenizer) + 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "projection_dim": 32,
    }
    whole = {
        "model_type": "paligemma",
        "image_token_id": processor.image_token_id,
        "projection_dim": 32,
        "hidden_size": 32,
        "text_config": text,
        "vision_config": vision,
    }
    torch.manual_seed(0)
    ColPaliForRetrieval(ColPaliConfig(vlm_config=whole, embedding_dim=8)).eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def colqwen2(folder: Path) -> str:
    """A ColQwen2 with patches of 14 pixels, merged two by two, and token vectors of 8 dimensions."""
    import torch
    from transformers import ColQwen2Config, ColQwen2ForRetrieval, ColQwen2Processor, Qwen2VLImageProcessor

    specials = ["<|endoftext|>", "<unk>", "<|im_start|>", "<|im_end|>"]
    specials += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    tokenizer = word_tokenizer(specials, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 16)
    processor = ColQwen2Processor(image_processor=images, tokenizer=tokenizer)
    ids = tokenizer.convert_tokens_to_ids
    whole = {
        "model_type": "qwen2_vl",
        "image_token_id": ids("<|image_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
        "text_config": {
            "vocab_size": len(tokenizer) + 4,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        },
        "vision_config": {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "mlp_ratio": 2},
    }
    torch.manual_seed(0)
    model = ColQwen2ForRetrieval(ColQwen2Config(vlm_config=whole, embedding_dim=8)).eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def images(*sizes: tuple[int, int]) -> list[Any]:
    """Images of noise, of these widths and heights."""
    from PIL import Image

    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
