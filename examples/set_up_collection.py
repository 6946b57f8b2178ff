"""Create a collection with its indexes and an alias for its readers; safe to run as often as you like.

python examples/set_up_collection.py docs_v1 live examples/recipes/small.yaml http://localhost:6333
"""

import sys

from qdrant_client import models

from embplug import Collection, Recipe, connect


def main(name, alias, recipe, at):
    engine = connect(at)
    # An existing collection is opened; with another recipe it is refused, and nothing changes.
    docs = Collection.create(name, Recipe.from_file(recipe), engine)
    behind = {entry.alias_name: entry.collection_name for entry in engine.get_aliases().aliases}
    if alias not in behind:
        create = models.CreateAlias(collection_name=name, alias_name=alias)
        engine.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
        behind[alias] = name
    print(f"{docs.name}: {docs.info().points} documents; {alias} points at {behind[alias]}")
    engine.close()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit((__doc__ or "").strip())
    main(*sys.argv[1:])
