"""The collections that a server shows, and what its clients may do with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embplug.encoders import Encoder
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.defaults import as_encoder
from embplug.frameworks.opening import open_or_create


@dataclass(frozen=True)
class ServedCollection:
    """A collection that clients see.

    Attributes
    ----------
    name : str
        Name of the collection.
    shared : FrameworkCollection
        The collection.
    may_add : bool
        Whether clients may add documents, and replace those that exist.
    may_delete : bool
        Whether clients may delete documents.
    """

    name: str
    shared: FrameworkCollection
    may_add: bool = False
    may_delete: bool = False


def open_served(
    engine: Engine,
    names: Sequence[str],
    *,
    encoder: Encoder | str | None = None,
    text_key: str = "text",
    add_to: Sequence[str] = (),
    delete_from: Sequence[str] = (),
) -> dict[str, ServedCollection]:
    """Open the collections that a server shows.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Engine that has the collections.
    names : sequence of str
        Names of the collections. One that embplug did not create is searched as it is.
    encoder : Encoder or str, default=None
        Encoder of texts, or its name, in place of those that the recipes name.
    text_key : str, default="text"
        Payload field of the text in collections that embplug did not create.
    add_to : sequence of str, default=()
        Names of the collections to which clients may add documents.
    delete_from : sequence of str, default=()
        Names of the collections from which clients may delete documents.

    Returns
    -------
    dict of str to ServedCollection
        The collections by their names.

    Raises
    ------
    CollectionNotFoundError
        A collection does not exist.
    InvalidArgumentError
        No collection is named, or a permission is for a collection that is not served.
    """
    if not names:
        raise InvalidArgumentError("names", "at least one collection", "none")
    for argument, allowed in (("add_to", add_to), ("delete_from", delete_from)):
        for i, name in enumerate(allowed):
            if name not in names:
                raise InvalidArgumentError(f"{argument}[{i}]", f"one of {[*names]}", repr(name))
    loaded = as_encoder(encoder)
    served = {}
    for name in names:
        collection, is_plain = open_or_create(
            name,
            engine,
            loaded,
            recipe=None,
            adapt=lambda recipe: recipe,
            default=None,
            vector_name="",
            text_key=text_key,
            how_to_compress="run `embplug migrate` (docs/migrating.md)",
        )
        shared = FrameworkCollection(collection, is_plain)
        served[name] = ServedCollection(name, shared, name in add_to, name in delete_from)
    return served


def chosen(served: Mapping[str, ServedCollection], name: str | None) -> ServedCollection:
    """Return the collection that a client names, or the only one.

    Raises
    ------
    InvalidArgumentError
        There is none of that name, or there are several and the client names none.
    """
    if name is None and len(served) == 1:
        return next(iter(served.values()))
    if name is None or name not in served:
        raise InvalidArgumentError("collection", f"one of {[*served]}", name)
    return served[name]
