"""Codes of all branches that share a payload field, written into payloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embplug.branches.base import Branch, EncodedDocuments
from embplug.branches.points import with_fields
from embplug.common import base85


def with_codes(
    payloads: Sequence[Mapping[str, Any]],
    field: str,
    branches: Mapping[str, Branch],
    encoded: Mapping[str, EncodedDocuments],
) -> Sequence[Mapping[str, Any]]:
    """Payloads with the codes of the branches that keep theirs in ``field``, in the order of their names.

    Parameters
    ----------
    payloads : sequence of mapping
        One of each document.
    field : str
        Payload field of the codes.
    branches : mapping of str to Branch
        All branches of the recipe, by name.
    encoded : mapping of str to EncodedDocuments
        What each branch stores of the documents, by the same names.

    Returns
    -------
    sequence of mapping
        The payloads; with ``field``, as base85, where a branch has codes.
    """
    sharing = sorted(name for name, branch in branches.items() if field in branch.codes_fields)
    if all(field not in encoded[name].codes for name in sharing):
        return payloads
    # A point that is copied may lack one of several vectors.
    parts = [
        encoded[name].codes.get(field) or [branches[name].absent_codes] * len(payloads) for name in sharing
    ]
    codes = parts[0] if len(parts) == 1 else [b"".join(row) for row in zip(*parts, strict=True)]
    texts = base85.encode(codes)
    return [with_fields(payload, {field: text}) for payload, text in zip(payloads, texts, strict=True)]
