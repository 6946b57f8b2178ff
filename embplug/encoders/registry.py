"""The registry of encoders by name; the module of an encoder is imported when it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from embplug.encoders.base import Encoder
from embplug.encoders.info import EncoderInfo
from embplug.errors import InvalidArgumentError

_BUILT_IN = {
    "minilm": ("embplug.encoders.minilm", "MiniLMEncoder"),
    "minilm-int8": ("embplug.encoders.minilm_int8", "MiniLMInt8Encoder"),
    "fastembed": ("embplug.encoders.fastembed", "FastEmbedEncoder"),
    "sentence-transformers": ("embplug.encoders.sentence_transformers", "SentenceTransformersEncoder"),
    "pylate": ("embplug.encoders.pylate", "PyLateEncoder"),
    "openai": ("embplug.encoders.served", "OpenAIEncoder"),
    "vllm": ("embplug.encoders.served", "VLLMEncoder"),
    "tei": ("embplug.encoders.served", "TEIEncoder"),
}
LOCAL = ("minilm", "minilm-int8")
"""Encoders whose weights come with installed packages."""

SERVED = ("openai", "vllm", "tei")
"""Encoders that send texts to the address that follows the colon."""

LOCAL_INFO = EncoderInfo(("tokens", "dense"), token_dim=384, dense_dim=384)
"""What these encoders make, which is known before they are loaded."""

_registered: dict[str, Callable[..., Encoder]] = {}


def register_encoder(kind: str, make: Callable[..., Encoder]) -> None:
    """Register an encoder under a name, by which recipes and :func:`load_encoder` find it.

    Registering a name again replaces the earlier encoder.

    Parameters
    ----------
    kind : str
        Name of the encoder, without a colon.
    make : callable
        Function or class that returns the encoder. ``load_encoder("kind")`` calls ``make()``, and
        ``load_encoder("kind:model")`` calls ``make("model")``.

    Raises
    ------
    InvalidArgumentError
        ``kind`` is empty, has a colon, or is the name of a built-in encoder.
    """
    if not isinstance(kind, str) or not kind or ":" in kind or kind in _BUILT_IN:
        raise InvalidArgumentError("kind", f"a name without a colon, not one of {[*_BUILT_IN]}", repr(kind))
    _registered[kind] = make


def is_local(spec: str) -> bool:
    """Return whether an encoder comes with installed packages, or was registered in this process."""
    return spec in LOCAL or spec.partition(":")[0] in _registered


def is_served(spec: str) -> bool:
    """Return whether an encoder sends texts to an address that its name holds."""
    kind = spec.partition(":")[0]
    return kind in SERVED and kind not in _registered


def check_encoder_name(spec: Any) -> None:
    """Check that an encoder of this name is known, without loading it.

    Parameters
    ----------
    spec : str
        Name as :func:`load_encoder` takes it.

    Raises
    ------
    InvalidArgumentError
        There is no encoder of that kind, or no model follows the colon.
    """
    kind, colon, model = spec.partition(":") if isinstance(spec, str) else ("", "", "")
    if kind not in _registered and kind not in _BUILT_IN:
        known = [*_BUILT_IN, *_registered]
        raise InvalidArgumentError("encoder", f"one of {known}, then ':' and a model", repr(spec))
    if bool(colon) != bool(model):
        raise InvalidArgumentError("encoder", f"a model after '{kind}:'", repr(spec))


def declared_info(spec: str) -> EncoderInfo | None:
    """Return what the class of a local encoder tells of it, without loading the encoder, or None.

    Parameters
    ----------
    spec : str
        Name as :func:`load_encoder` takes it.

    Returns
    -------
    EncoderInfo or None
        Attribute ``info`` of the class.
    """
    if spec in LOCAL:
        return LOCAL_INFO
    info = getattr(_registered.get(spec.partition(":")[0]), "info", None)
    return info if isinstance(info, EncoderInfo) else None


def load_encoder(spec: str, *, with_saliency: bool = False) -> Encoder:
    """Load an encoder by its name.

    Parameters
    ----------
    spec : str
        Kind of the encoder, followed by a colon and a model if the kind needs a model: ``"minilm"`` or
        ``"fastembed:colbert-ir/colbertv2.0"``.
    with_saliency : bool, default=False
        Whether the encoder computes the saliency of tokens. Of the built-in encoders, only ``minilm`` can.
        A registered encoder is made as usual, and has to compute it by itself.

    Returns
    -------
    Encoder
        The encoder.

    Raises
    ------
    InvalidArgumentError
        There is no encoder of that kind, the model is missing or not expected, or the encoder
        cannot compute saliency.
    MissingExtraError
        The library of the encoder is not installed.
    """
    check_encoder_name(spec)
    kind, _, model = spec.partition(":")
    make: Any = _registered.get(kind)
    if make is None:
        module, name = _BUILT_IN[kind]
        make = getattr(importlib.import_module(module), name)
    options = {}
    if with_saliency and kind in _BUILT_IN:
        if kind != "minilm":
            raise InvalidArgumentError(
                "encoder", "'minilm', which computes the saliency of tokens", repr(spec)
            )
        options = {"with_saliency": True}
    try:
        encoder: Encoder = make(model) if model else make(**options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        expected = f"{kind!r} alone" if model else f"'{kind}:' and a model"
        raise InvalidArgumentError("encoder", expected, repr(spec)) from error
    return encoder
