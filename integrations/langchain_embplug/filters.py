"""Filters as LangChain's users write them, ``{"year": {"$gte": 2020}}``, to Qdrant's."""

from __future__ import annotations

from typing import TypeAlias

from qdrant_client import models

from embplug.frameworks.dict_filters import DictFilter, filter_from_dict

Filter: TypeAlias = DictFilter
"""A filter of Qdrant, or a mapping; see :func:`to_filter`."""


def to_filter(filter: Filter | None, metadata_payload_key: str = "metadata") -> models.Filter | None:
    """Translate a filter on the metadata; Qdrant's own stays as it is.

    Parameters
    ----------
    filter : mapping, qdrant_client.models.Filter or None
        Fields of the metadata with values, lists of values, or operators: ``$eq``, ``$ne``, ``$gt``,
        ``$gte``, ``$lt``, ``$lte``, ``$between``, ``$in``, ``$nin``, ``$contains``, ``$exists``,
        ``$text``. All fields, and all operators of a field, have to hold. ``$and``, ``$or`` and
        ``$not`` combine filters. Dots reach into nested fields. Or a filter of Qdrant as a mapping, such as
        ``{"must": [...]}``, whose paths begin with ``metadata.``.
    metadata_payload_key : str, default="metadata"
        Payload field with the metadata.

    Returns
    -------
    qdrant_client.models.Filter or None
        None if the filter is None or an empty mapping.

    Raises
    ------
    FilterError
        A field or operator is wrong; the error names its place. It is a ``ValueError``.
    """
    return filter_from_dict(filter, metadata_payload_key)
