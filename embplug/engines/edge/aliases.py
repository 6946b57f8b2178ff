"""Changes of aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from embplug.errors import InvalidArgumentError


def alias_response(aliases: Mapping[str, str]) -> models.CollectionsAliasesResponse:
    """Convert aliases to what ``QdrantClient.get_aliases`` returns."""
    described = [
        models.AliasDescription(alias_name=alias, collection_name=name) for alias, name in aliases.items()
    ]
    return models.CollectionsAliasesResponse(aliases=described)


def change_alias(aliases: dict[str, str], names: Sequence[str], operation: Any, argument: str) -> None:
    """Apply one operation to a mapping of aliases to collections.

    Raises
    ------
    InvalidArgumentError
        The operation cannot be applied.
    """
    if isinstance(operation, models.CreateAliasOperation):
        create = operation.create_alias
        if create.collection_name not in names:
            raise InvalidArgumentError(argument, "a collection that exists", repr(create.collection_name))
        _check_alias_is_free(create.alias_name, names, argument)
        aliases[create.alias_name] = create.collection_name
    elif isinstance(operation, models.DeleteAliasOperation):
        aliases.pop(operation.delete_alias.alias_name, None)
    elif isinstance(operation, models.RenameAliasOperation):
        rename = operation.rename_alias
        if rename.old_alias_name not in aliases:
            raise InvalidArgumentError(argument, "an alias that exists", repr(rename.old_alias_name))
        _check_alias_is_free(rename.new_alias_name, names, argument)
        aliases[rename.new_alias_name] = aliases.pop(rename.old_alias_name)
    else:
        raise InvalidArgumentError(argument, "an alias operation", type(operation).__name__)


def _check_alias_is_free(alias: str, names: Sequence[str], argument: str) -> None:
    if alias in names:
        raise InvalidArgumentError(argument, "an alias that is not the name of a collection", repr(alias))
