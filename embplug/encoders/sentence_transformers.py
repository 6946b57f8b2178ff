"""Adapter for sentence-transformers: sentence vectors, and token vectors of the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embplug.encoders.base import Encoded, special_token_ids, token_batch
from embplug.errors import MissingExtraError


class SentenceTransformersEncoder:
    """Encoder with a ``SentenceTransformer``, which makes sentence and token vectors of unit length.

    Special tokens of beginning, end and padding are left out of the token vectors. The prompts named
    ``query`` and ``document`` are used if the model has them.

    Parameters
    ----------
    model : str or SentenceTransformer
        Name or folder of a model, or a loaded model.

    Raises
    ------
    MissingExtraError
        sentence-transformers is not installed.
    """

    def __init__(self, model: Any) -> None:
        if isinstance(model, str):
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError as error:
                raise MissingExtraError(
                    "the sentence-transformers encoder", "sentence-transformers"
                ) from error
            self.spec = f"sentence-transformers:{model}"
            model = SentenceTransformer(model)
        else:
            self.spec = f"sentence-transformers:{model.model_card_data.base_model or 'given'}"
        self._model = model
        self._special = special_token_ids(model.tokenizer)

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents as sentence and token vectors.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            ``tokens`` and ``dense`` of the texts.
        """
        return self._encode(texts, "document")

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries as sentence and token vectors.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            ``tokens`` and ``dense`` of the texts.
        """
        return self._encode(texts, "query")

    def _encode(self, texts: Sequence[str], prompt: str) -> Encoded:
        prompt_name = prompt if prompt in (self._model.prompts or {}) else None
        outputs = self._model.encode(
            list(texts), output_value=None, prompt_name=prompt_name, show_progress_bar=False
        )
        tokens, dense = [], []
        for output in outputs:
            ids = output["input_ids"].cpu().numpy()
            kept = (output["attention_mask"].cpu().numpy() > 0) & ~np.isin(ids, self._special)
            tokens.append(_unit(output["token_embeddings"].float().cpu().numpy()[: len(kept)][kept]))
            dense.append(output["sentence_embedding"].float().cpu().numpy())
        return Encoded(token_batch(tokens), _unit(np.stack(dense)))


def _unit(vectors: Any) -> Any:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
