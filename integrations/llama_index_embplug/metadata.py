"""Changes of the metadata of nodes, in all places where a payload holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from embplug import Record
from embplug.common.json_types import jsonable_payload
from embplug.errors import InvalidArgumentError
from llama_index_embplug.nodes import from_payload, plain_payload, to_payload


class MetadataChange:
    """Makes the new payload of a stored node.

    Parameters
    ----------
    text_key : str
        Payload field of the text.
    is_plain : bool
        True for a collection of LlamaIndex's own store.
    metadata : mapping of str to Any, default={}
        Fields that are set.
    keys : iterable of str, default=()
        Fields that are removed.
    """

    def __init__(
        self, text_key: str, is_plain: bool, *, metadata: Any = None, keys: Iterable[str] = ()
    ) -> None:
        if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
            raise InvalidArgumentError("keys", "a list of fields of the metadata", repr(keys))
        self._text_key = text_key
        self._is_plain = is_plain
        self._metadata = {} if metadata is None else jsonable_payload(metadata, "metadata")
        self._keys = {*keys}

    def __call__(self, record: Record) -> dict[str, Any]:
        """Return the payload of a record with the change."""
        node = from_payload(record, self._text_key)
        kept = {key: value for key, value in node.metadata.items() if key not in self._keys}
        node.metadata = {**kept, **self._metadata}
        return plain_payload(node) if self._is_plain else to_payload(node, self._text_key)
