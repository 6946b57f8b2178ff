"""Compressed and multi-vector retrieval on Qdrant.

Begin with :class:`Recipe`, which says what a collection stores and how it is searched, and with
:class:`Collection`, which is created, filled and searched::

    from embplug import Collection, Recipe, Sparse

    collection = Collection.create("docs", Recipe(sparse=Sparse()), "./data")
    collection.add([1, 2], texts=["red apples", "green pears"])
    collection.search(text="apple")

Other names:

* ``embplug.methods`` has the transforms, quantizers, token codes, encodings and reductions of recipes.
* ``embplug.errors`` has the exceptions. All of them derive from ``embplug.errors.EmbplugError``.
* :func:`migrate`, :func:`upgrade`, :func:`advise` and :func:`evaluate` work on whole collections.

The pages in ``docs/`` explain the tasks: ``compression.md`` for dense vectors, ``encodings.md`` and
``token_codes.md`` for late interaction, ``hybrid.md`` for full-text search, ``budget.md`` and
``evaluating.md`` to choose a recipe, ``payloads.md`` and ``multitenancy.md`` for documents,
``migrating.md`` and ``upgrading.md`` for collections in use, ``langchain.md`` and ``llama_index.md`` for
frameworks.

The public names stand in ``__init__.pyi``. Each is imported when it is first used.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
