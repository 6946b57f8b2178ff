"""Changes of metadata as changes of the payload field that holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from embplug.common.json_types import jsonable_payload
from embplug.common.payload_paths import checked_path, path_of_field
from embplug.errors import InvalidArgumentError

Update: TypeAlias = tuple[str, dict[str, Any]]
"""A method of a collection, and its arguments besides those that name documents."""


class MetadataUpdates:
    """Makes the updates of a store.

    Parameters
    ----------
    field : str
        Payload field with the metadata.
    """

    def __init__(self, field: str) -> None:
        self._field = field

    def set(self, metadata: Any, key: str | None) -> Update:
        """Return the update that sets fields of the metadata, or of the mapping at ``key`` in it."""
        path = self._path() if key is None else f"{self._path()}.{checked_path(key, 'key').text}"
        return "set_payload", {"payload": jsonable_payload(metadata, "metadata"), "key": path}

    def overwrite(self, metadata: Any) -> Update:
        """Return the update that replaces the metadata."""
        return "set_payload", {"payload": {self._field: jsonable_payload(metadata, "metadata")}}

    def delete(self, keys: Any) -> Update:
        """Return the update that removes fields of the metadata."""
        if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
            raise InvalidArgumentError("keys", "a list of paths into the metadata", repr(keys))
        paths = [checked_path(key, f"keys[{i}]").text for i, key in enumerate(keys)]
        return "delete_payload", {"keys": [f"{self._path()}.{path}" for path in paths]}

    def _path(self) -> str:
        path = path_of_field(self._field)
        if path is None:
            expected = "a name without quotation marks, to change the metadata"
            raise InvalidArgumentError("metadata_payload_key", expected, repr(self._field))
        return path
