"""Ids of documents as frameworks write them, which is always as strings."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias

from qdrant_client import models

from embplug.collection.records import Record
from embplug.common.ids import is_integer_text, listed_ids, point_id
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError

DocumentId: TypeAlias = str | int
"""Id of a document in a framework; an integer stands for its decimal string."""


def id_or_new(document_id: DocumentId | None) -> str:
    """Return an id as a string, or a new UUID for None and for the empty string.

    Parameters
    ----------
    document_id : str, int or None
        Id of a document.

    Returns
    -------
    str
        Id of the document.

    Raises
    ------
    InvalidArgumentError
        The id is something else.
    """
    if document_id is None:
        return str(uuid.uuid4())
    check_id(document_id)
    return str(document_id) or str(uuid.uuid4())


def check_id(document_id: Any) -> None:
    """Check that an id of a document is a string or an integer.

    Parameters
    ----------
    document_id : object
        Id of a document.

    Raises
    ------
    InvalidArgumentError
        The id is something else.
    """
    if not isinstance(document_id, (str, int, uuid.UUID)) or isinstance(document_id, bool):
        raise InvalidArgumentError("ids", "strings or integers", short_repr(document_id))


class DocumentIds:
    """Translates ids between a framework and a collection.

    Parameters
    ----------
    is_plain : bool
        True for a collection that embplug did not create. There, integers and UUIDs in any form are
        the ids of points.
    """

    def __init__(self, is_plain: bool) -> None:
        self.is_plain = is_plain

    def to_collection(self, document_id: DocumentId) -> int | str:
        """Return the id under which a document is added to the collection.

        Parameters
        ----------
        document_id : str or int
            Id in the framework.

        Returns
        -------
        int or str
            Id in the collection.

        Raises
        ------
        InvalidArgumentError
            The id is something else.
        """
        check_id(document_id)
        text = str(document_id)
        if self.is_plain:
            if is_integer_text(text):
                return int(text)
            try:
                return str(uuid.UUID(text))
            except ValueError:
                pass
        return text

    def candidates(self, document_ids: Iterable[DocumentId]) -> list[int | str]:
        """List all ids under which documents may be stored, each of them once.

        A framework shows the id 7 of a point as ``"7"``; both forms are looked up.

        Parameters
        ----------
        document_ids : iterable of str or int
            Ids in the framework.

        Returns
        -------
        list of int or str
            Ids in the collection.

        Raises
        ------
        InvalidArgumentError
            ``document_ids`` is a single id.
        """
        listed = listed_ids(document_ids)
        return list(dict.fromkeys(chain.from_iterable(self._candidates(item) for item in listed)))

    def in_order(self, document_ids: Iterable[DocumentId], records: Sequence[Record]) -> list[Record]:
        """Sort records in the order of ids, and leave out ids without a record.

        Parameters
        ----------
        document_ids : iterable of str or int
            Ids in the framework.
        records : sequence of Record
            Records of :meth:`candidates`, in any order.

        Returns
        -------
        list of Record
            Records in the order of the ids.
        """
        by_id = {record.id: record for record in records}
        candidates = chain.from_iterable(self._candidates(item) for item in document_ids)
        return [by_id[candidate] for candidate in candidates if candidate in by_id]

    def condition(self, document_ids: Iterable[DocumentId], argument: str = "ids") -> models.Filter:
        """Return a filter that lets the documents of these ids through.

        Parameters
        ----------
        document_ids : iterable of str or int
            Ids in the framework.
        argument : str, default="ids"
            Name of the argument, for the error.

        Returns
        -------
        qdrant_client.models.Filter
            Filter on the ids of points.

        Raises
        ------
        InvalidArgumentError
            An id is empty or no Unicode text.
        """
        points = [point_id(candidate, argument) for candidate in self.candidates(document_ids)]
        return models.Filter(must=[models.HasIdCondition(has_id=points)])

    def _candidates(self, document_id: DocumentId) -> list[int | str]:
        own = self.to_collection(document_id)
        text = str(document_id)
        return [own, int(text)] if own == text and is_integer_text(text) else [own]
