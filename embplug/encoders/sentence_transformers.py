"""Adapter for sentence-transformers: late interaction, sentence vectors and learned sparse vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.encoders.base import Encoded, special_token_ids, token_batch
from embplug.encoders.checkpoints import load_checkpoint
from embplug.encoders.images import EncodedImages
from embplug.encoders.info import EncoderInfo, Output
from embplug.encoders.revisions import is_on_hub, weights_revision
from embplug.encoders.spans import spans_of_rows
from embplug.encoders.texts import Task, TextEncoder
from embplug.methods.numeric.rows import unit_rows

PROMPTS: dict[Task, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Names of the prompts that sentence-transformers puts before queries and documents, the first first."""


UNLIMITED = 10**9
"""Tokenizers tell a larger number where they know no longest text."""


class SentenceTransformersEncoder(TextEncoder):
    """Encoder with a model of sentence-transformers 6, of the class that its checkpoint names.

    ========================== ==========================================================================
    class                      vectors
    ========================== ==========================================================================
    ``MultiVectorEncoder``     token vectors, with the projection, prefixes, query expansion and skip list
                               of the model: ColBERT, PyLate, ColPali, ColQwen
    ``SentenceTransformer``    the sentence vector; and the token vectors of the last layer, of unit
                               length and without the special tokens
    ``SparseEncoder``          weights of the vocabulary: SPLADE
    ========================== ==========================================================================

    Prompts of the model are used. Token vectors are float16 where the model's are. Code of a checkpoint is
    never run: pass a loaded model if it needs its own code.

    Parameters
    ----------
    model : str, MultiVectorEncoder, SentenceTransformer or SparseEncoder
        Name or folder of a model, or a loaded model.

    Raises
    ------
    MissingExtraError
        sentence-transformers 6 is not installed.
    """

    def __init__(self, model: Any) -> None:
        self._from_hub = isinstance(model, str) and is_on_hub(model)
        if isinstance(model, str):
            self.spec = f"sentence-transformers:{model}"
            model = load_checkpoint(model)
        else:
            self.spec = f"sentence-transformers:{model.model_card_data.base_model or 'given'}"
        self._model = model
        self._kind = model.model_type
        reads = getattr(model, "supports", None)
        self._reads_images = self._kind == "MultiVectorEncoder" and reads is not None and reads("image")
        if self._reads_images:
            # Only where the model reads images: this attribute makes an encoder of images.
            self.encode_images = self._encode_images

    @cached_property
    def info(self) -> EncoderInfo:
        """What the model makes, its dimensions, its longest document and the revision of its weights."""
        first, dim = self._model[0], self._model.get_embedding_dimension()
        token_dim: int | None = None
        outputs: tuple[Output, ...] = ("dense",)
        if self._kind == "MultiVectorEncoder":
            token_dim, outputs = dim, ("tokens",)
        elif self._kind == "SparseEncoder":
            outputs = ("sparse",)
        elif hasattr(first, "auto_model"):
            token_dim, outputs = first.get_embedding_dimension(), ("tokens", "dense")
        longest = getattr(first, "document_length", None) or self._model.get_max_seq_length()
        return EncoderInfo(
            outputs,
            token_dim,
            dim if "dense" in outputs else None,
            longest if longest is not None and longest < UNLIMITED else None,
            self.revision,
            reads_images=self._reads_images,
        )

    @cached_property
    def revision(self) -> str:
        """Commit of the model hub, or digest of the weights and the prompts."""
        prompts = [f"{name}={text}" for name, text in sorted((self._model.prompts or {}).items())]
        return weights_revision(self._model, *prompts, from_hub=self._from_hub)

    def _encode_images(self, images: Sequence[Any]) -> EncodedImages:
        """Encode images as token vectors; see :class:`~embplug.encoders.images.ImageEncoder`."""
        outputs = self._model.encode_document(list(images), output_value=None, show_progress_bar=False)
        matrices, grids = [], []
        for output in outputs:
            matrices.append(output["token_embeddings"][output["attention_mask"].bool()])
            grids.append(self._grid(output))
        known = np.asarray(grids, np.int64)
        return EncodedImages(token_batch(matrices), grids=known if known.any() else None)

    def _grid(self, output: Any) -> tuple[int, int, int]:
        """Rows and columns of the patches of an image and the tokens before them; zeros without a grid."""
        first, unknown = self._model[0], (0, 0, 0)
        if "input_ids" not in output:
            return unknown
        ids = _as_numpy(output["input_ids"])
        mask = _as_numpy(output["attention_mask"]) > 0
        if len(ids) != len(mask):
            return unknown
        processor = first.processor
        places = np.flatnonzero(ids[mask] == processor.tokenizer.convert_tokens_to_ids(processor.image_token))
        if "image_grid_thw" in output:
            merged = processor.image_processor.merge_size
            _, rows, columns = _as_numpy(output["image_grid_thw"]).reshape(-1, 3)[0] // (1, merged, merged)
        else:
            rows = columns = np.int64(round(len(places) ** 0.5))
        together = len(places) > 0 and places[-1] - places[0] + 1 == len(places)
        if not together or rows * columns != len(places):
            return unknown
        return int(rows), int(columns), int(places[0])

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        if self._kind == "MultiVectorEncoder":
            return self._multi_vector(texts, task)
        return self._sparse(texts, task) if self._kind == "SparseEncoder" else self._sentence(texts, task)

    def _call(self, texts: Sequence[str], task: Task, **options: Any) -> Any:
        encode = self._model.encode_query if task == "query" else self._model.encode_document
        return encode(list(texts), show_progress_bar=False, **options)

    def _multi_vector(self, texts: Sequence[str], task: Task) -> Encoded:
        matrices, ids, masks = [], [], []
        for output in self._call(texts, task, output_value=None):
            mask = _as_numpy(output["attention_mask"]) > 0
            matrices.append(output["token_embeddings"][output["attention_mask"].bool()])
            masks.append(mask)
            ids.append(_as_numpy(output["input_ids"]) if "input_ids" in output else None)
        # A model that pools tokens has fewer of them than ids.
        if any(row is None or len(row) != len(mask) for row, mask in zip(ids, masks, strict=True)):
            return Encoded(token_batch(matrices))
        return self._with_ids(matrices, ids, masks, texts, task)

    def _sentence(self, texts: Sequence[str], task: Task) -> Encoded:
        special = special_token_ids(self._model.tokenizer)
        matrices, ids, masks, dense = [], [], [], []
        for output in self._call(texts, task, output_value=None):
            dense.append(_as_numpy(output["sentence_embedding"]).astype(np.float32))
            if "token_embeddings" not in output or "input_ids" not in output:
                continue
            row = _as_numpy(output["input_ids"])
            mask = (_as_numpy(output["attention_mask"]) > 0) & ~np.isin(row, special)
            values = _as_numpy(output["token_embeddings"])[: len(row)][mask]
            matrices.append(unit_rows(values.astype(np.float32)).astype(values.dtype))
            ids.append(row)
            masks.append(mask)
        if len(matrices) < len(dense):
            return Encoded(dense=np.stack(dense))
        return self._with_ids(matrices, ids, masks, texts, task, np.stack(dense))

    def _sparse(self, texts: Sequence[str], task: Task) -> Encoded:
        from scipy.sparse import csr_array

        weights = self._call(texts, task, save_to_cpu=True).coalesce()
        values, places = _as_numpy(weights.values()).astype(np.float32), weights.indices().numpy()
        return Encoded(sparse=csr_array((values, (places[0], places[1])), shape=tuple(weights.shape)))

    def _with_ids(
        self,
        matrices: Sequence[Any],
        ids: Sequence[Any],
        masks: Sequence[Any],
        texts: Sequence[str],
        task: Task,
        dense: NDArray[np.float32] | None = None,
    ) -> Encoded:
        """Token matrices with the id and the characters of each token."""
        spans = None
        # A chat template puts text around each input, so that its characters are not known.
        if "message" not in getattr(self._model[0], "modality_config", {}):
            tokenizer, prompt = self._model.tokenizer, self._prompt(task)
            left = getattr(tokenizer, "padding_side", "right") == "left"
            first = [int(np.argmax(row != tokenizer.pad_token_id)) if left else 0 for row in ids]
            read = [row[start:] for row, start in zip(ids, first, strict=True)]
            rows = spans_of_rows(tokenizer, texts, prompt, read)
            if rows is not None:
                kept = zip(rows, masks, first, strict=True)
                spans = np.concatenate([row[mask[start:]] for row, mask, start in kept])
        joined = np.concatenate([row[mask] for row, mask in zip(ids, masks, strict=True)])
        return Encoded(token_batch(matrices), dense, token_ids=joined.astype(np.int64), spans=spans)

    def _prompt(self, task: Task) -> str:
        prompts = self._model.prompts or {}
        name = next((name for name in PROMPTS[task] if name in prompts), self._model.default_prompt_name)
        return prompts.get(name) or ""


def _as_numpy(values: Any) -> NDArray[Any]:
    values = values.detach().cpu()
    return np.asarray((values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy())
