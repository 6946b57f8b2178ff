"""Tiny models of pages in the files that fastembed's classes read: ColPali and ColModernVBERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.encoders.onnx_file import FLOAT, INT64, Node, write_model
from tests.encoders.page_checkpoints import word_tokenizer

DIM = 128
"""The dimension that fastembed names for both models."""

VOCABULARY = 97
"""Rows of the embedding; the ids of ColPali's image tokens are far higher, and are taken modulo this."""

COLPALI, COLMODERNVBERT = "Qdrant/colpali-v1.3-fp16", "Qdrant/colmodernvbert"
TILE, TILE_TOKENS = 16, 4
"""Pixels of the side of a tile of ColModernVBERT, and the tokens that stand for it."""

IDS = {"input_ids": (INT64, 2), "attention_mask": (INT64, 2)}


def colpali(folder: Path) -> str:
    """Token embeddings, plus the mean colour of each patch of 14 x 14 pixels at the image tokens.

    Queries come with a black image, which adds nothing. Rows of padding are zeros, as in ColPali.
    """
    patches = [
        Node("AveragePool", ["pixel_values"], "pooled", {"kernel_shape": [14, 14], "strides": [14, 14]}),
        Node("Reshape", ["pooled", "flat"], "colours"),
        Node("Transpose", ["colours"], "patches", {"perm": [0, 2, 1]}),
        Node("MatMul", ["patches", "projection"], "projected"),
        # As many rows as there are tokens: more than patches for an image, fewer for a query.
        Node("Shape", ["input_ids"], "shape"),
        Node("Gather", ["shape", "second"], "length"),
        Node("Sub", ["length", "patch_count"], "missing"),
        Node("Mul", ["missing", "at_the_end"], "padding"),
        Node("Pad", ["projected", "padding"], "added"),
    ]
    constants = {
        "flat": np.array([0, 3, 1024]),
        "projection": np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32),
        "second": np.array([1]),
        "patch_count": np.array([1024]),
        "at_the_end": np.array([0, 0, 0, 0, 1, 0]),
    }
    inputs = {**IDS, "pixel_values": (FLOAT, 4)}
    _write(folder / "model.onnx", patches, constants, inputs)
    images = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 448, "width": 448}}
    images |= {"do_resize": True, "do_rescale": True, "do_normalize": False}
    return _saved(folder, ["<pad>", "<eos>", "<s>", "<unk>"], "<pad>", {"preprocessor_config": images})


def colmodernvbert(folder: Path) -> str:
    """Token embeddings, plus the sum of all pixels. Tiles that fill a batch up are black, and add nothing."""
    pixels = [
        Node("ReduceSum", ["pixel_values", "of_an_image"], "light", {"keepdims": 0}),
        Node("Reshape", ["light", "column"], "amount"),
        Node("Mul", ["amount", "direction"], "added"),
    ]
    constants = {
        "of_an_image": np.array([1, 2, 3, 4]),
        "column": np.array([-1, 1, 1]),
        "direction": np.random.default_rng(1).standard_normal((1, 1, DIM)).astype(np.float32) / 1000,
    }
    _write(folder / "model_v2.onnx", pixels, constants, {**IDS, "pixel_values": (FLOAT, 5)})
    configurations = {
        "preprocessor_config": {
            "image_processor_type": "Idefics3ImageProcessor",
            "do_resize": True,
            "size": {"longest_edge": 2 * TILE},
            "max_image_size": {"longest_edge": TILE},
            "do_image_splitting": True,
        },
        "processor_config": {"image_seq_len": TILE_TOKENS},
        "config": {"vision_config": {"image_size": TILE}},
    }
    specials = ["<pad>", "<unk>", "<|begin_of_text|>", "<image>", "<global-img>", "<end_of_utterance>"]
    specials += ["<fake_token_around_image>", *(f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2))]
    return _saved(folder, specials, "<pad>", configurations)


def _write(file: Path, nodes: list[Node], constants: dict[str, Any], inputs: dict[str, Any]) -> None:
    """A model of the embedding of its tokens, and of what ``nodes`` add to it, with unit length."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tokens = [
        Node("Mod", ["input_ids", "vocabulary"], "row"),
        Node("Gather", ["rows", "row"], "embedded"),
        *nodes,
        Node("Add", ["embedded", "added"], "sum"),
        Node("LpNormalization", ["sum"], "unit"),
        Node("Cast", ["attention_mask"], "mask", {"to": FLOAT}),
        Node("Unsqueeze", ["mask", "last"], "column_of_mask"),
        Node("Mul", ["unit", "column_of_mask"], "embeddings"),
    ]
    rows = np.random.default_rng(0).standard_normal((VOCABULARY, DIM)).astype(np.float32)
    shared = {"rows": rows, "vocabulary": np.array([VOCABULARY]), "last": np.array([-1])}
    write_model(file, tokens, {**shared, **constants}, inputs, "embeddings", 3)


def _saved(folder: Path, specials: list[str], pad: str, configurations: dict[str, Any]) -> str:
    tokenizer = word_tokenizer(specials, pad_token=pad)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    for name, configuration in configurations.items():
        (folder / f"{name}.json").write_text(json.dumps(configuration), encoding="utf-8")
    return str(folder)
