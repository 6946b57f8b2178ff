"""Errors that are embplug's and Haystack's at once."""

from __future__ import annotations

from haystack.document_stores.errors import DuplicateDocumentError
from haystack.errors import FilterError as HaystackFilterError

from embplug.errors import DuplicateIdError, FilterError


class DocumentFilterError(FilterError, HaystackFilterError):
    """A filter is wrong; the error names the place."""


class DocumentExistsError(DuplicateIdError, DuplicateDocumentError):
    """A document with this id exists, and the policy is to fail."""
