"""Encoders by name, each imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from embplug.encoders.base import Encoder
from embplug.errors import InvalidArgumentError

_BUILT_IN = {
    "minilm": ("embplug.encoders.minilm", "MiniLMEncoder"),
    "fastembed": ("embplug.encoders.fastembed", "FastEmbedEncoder"),
    "sentence-transformers": ("embplug.encoders.sentence_transformers", "SentenceTransformersEncoder"),
    "pylate": ("embplug.encoders.pylate", "PyLateEncoder"),
}
_registered: dict[str, Callable[..., Encoder]] = {}


def register_encoder(kind: str, make: Callable[..., Encoder]) -> None:
    """Make ``load_encoder("kind")`` call ``make()``, and ``load_encoder("kind:model")`` ``make("model")``.

    Raises
    ------
    InvalidArgumentError
        ``kind`` is empty, has a colon, or names a built-in encoder.
    """
    if not isinstance(kind, str) or not kind or ":" in kind or kind in _BUILT_IN:
        raise InvalidArgumentError("kind", f"a name without a colon, not one of {[*_BUILT_IN]}", repr(kind))
    _registered[kind] = make


def load_encoder(spec: str, *, with_saliency: bool = False) -> Encoder:
    """Load the encoder that ``spec`` names: ``"minilm"``, or ``"fastembed:colbert-ir/colbertv2.0"``.

    Parameters
    ----------
    spec
        The kind, and where the kind needs one a colon and the model.
    with_saliency
        Have it tell how much each token matters. Of the built-in ones MiniLM can; one of
        :func:`register_encoder` is made as always, and has to by itself.

    Raises
    ------
    InvalidArgumentError
        No encoder of that kind, no model where the kind needs one, or one that tells no saliency.
    MissingExtraError
        Its library is not installed.
    """
    kind, colon, model = spec.partition(":") if isinstance(spec, str) else ("", "", "")
    make: Any = _registered.get(kind)
    if make is None:
        if kind not in _BUILT_IN:
            known = [*_BUILT_IN, *_registered]
            raise InvalidArgumentError("encoder", f"one of {known}, then ':' and a model", repr(spec))
        module, name = _BUILT_IN[kind]
        make = getattr(importlib.import_module(module), name)
    if bool(colon) != bool(model):
        raise InvalidArgumentError("encoder", f"a model after '{kind}:'", repr(spec))
    options = {}
    if with_saliency and kind in _BUILT_IN:
        if kind != "minilm":
            raise InvalidArgumentError("encoder", "'minilm', which tells the saliency of tokens", repr(spec))
        options = {"with_saliency": True}
    try:
        encoder: Encoder = make(model) if model else make(**options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        expected = f"{kind!r} alone" if model else f"'{kind}:' and a model"
        raise InvalidArgumentError("encoder", expected, repr(spec)) from error
    return encoder
