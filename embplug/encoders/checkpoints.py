"""Which class of sentence-transformers a checkpoint was made for."""

from __future__ import annotations

import json
from typing import Any, Literal

from embplug.errors import MissingExtraError

ModelClass = Literal["MultiVectorEncoder", "SentenceTransformer", "SparseEncoder"]


def load_checkpoint(name: str) -> Any:
    """Load a checkpoint with the class that it was made for.

    Code of the checkpoint is never run. A model that needs its own code has to be loaded by the caller.

    Parameters
    ----------
    name : str
        Name on the hub, or a folder.

    Returns
    -------
    MultiVectorEncoder, SentenceTransformer or SparseEncoder
        The loaded model.

    Raises
    ------
    MissingExtraError
        sentence-transformers 6 is not installed.
    """
    try:
        import sentence_transformers
        from sentence_transformers import MultiVectorEncoder  # noqa: F401  # the first version that has it
    except ImportError as error:
        raise MissingExtraError("the sentence-transformers encoder", "sentence-transformers") from error
    return getattr(sentence_transformers, model_class(name))(name, trust_remote_code=False)


def model_class(name: str) -> ModelClass:
    """Tell the class of a checkpoint by its configuration, without loading its weights.

    Parameters
    ----------
    name : str
        Name on the hub, or a folder.

    Returns
    -------
    {"MultiVectorEncoder", "SentenceTransformer", "SparseEncoder"}
        ``MultiVectorEncoder`` for checkpoints of that class, of PyLate, of Stanford's ColBERT and of
        retrievers of transformers such as ColPali. ``SparseEncoder`` for checkpoints of that class.
        Otherwise ``SentenceTransformer``.
    """
    saved = _configuration(name, "config_sentence_transformers.json").get("model_type")
    if saved in ("ColBERT", "MultiVectorEncoder"):
        return "MultiVectorEncoder"
    if saved == "SparseEncoder":
        return "SparseEncoder"
    architectures = _configuration(name, "config.json").get("architectures") or []
    if any(name == "HF_ColBERT" or name.endswith("ForRetrieval") for name in architectures):
        return "MultiVectorEncoder"
    return "SentenceTransformer"


def _configuration(name: str, file: str) -> dict[str, Any]:
    from sentence_transformers.util import load_file_path

    path = load_file_path(name, file)
    if path is None:
        return {}
    with open(path, encoding="utf-8") as stream:
        read = json.load(stream)
    return read if isinstance(read, dict) else {}
