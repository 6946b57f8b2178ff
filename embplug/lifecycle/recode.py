"""Binary codes of a new model in a collection that has those of an older one, without embedding anew."""

from __future__ import annotations

import logging
from dataclasses import replace

from numpy.typing import ArrayLike

from embplug.branches.dense import dense_key
from embplug.branches.documents import check_dense
from embplug.collection.collection import Collection
from embplug.collection.fitting import save_manifest_steps
from embplug.collection.named import opened
from embplug.common.telemetry import span
from embplug.encoders import Encoder, load_encoder
from embplug.engines import EngineTarget
from embplug.engines.calls import Call, Steps, run
from embplug.errors import InvalidArgumentError, NotFittedError, UpgradeError
from embplug.methods import RecurrentBinaryQuantizer
from embplug.recipe import Recipe

logger = logging.getLogger(__name__)


def recode(
    collection: Collection | str,
    *,
    new: ArrayLike,
    old: ArrayLike,
    engine: EngineTarget | None = None,
    encoder: Encoder | str | None = None,
) -> None:
    """Search a collection of binary codes with a new embedding model, without embedding documents again.

    Call it in place of :func:`upgrade` if the collection has codes that two models can share; see
    ``collection``. Other collections need :func:`upgrade` and then :func:`reembed`.

    New codes are trained to be compared with the stored codes (backward-compatible training), so that
    documents keep the codes they have. Queries and new documents are of the new model from then on. An
    open collection that is passed is searched with it at once; collections that are open elsewhere take it
    over with their next search. From asyncio, run the call in a thread, by
    ``asyncio.to_thread``.

    Parameters
    ----------
    collection : Collection or str
        The collection, open or by name. Its one dense vector has ``signs`` and
        ``codes=RecurrentBinaryQuantizer(queries="codes")``.
    new : array-like of shape (n, new dim)
        Vectors of documents by the new model; a few thousand.
    old : array-like of shape (n, dim)
        Vectors of the same documents by the old model.
    engine : str, path or client, default=None
        Engine of a collection that is passed by its name: a client, or what :func:`embplug.connect` takes.
    encoder : Encoder or str, default=None
        The new model, or its name as in a recipe, where the collection encodes texts.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong, and the error names it; or the collection has no such codes.
    NotFittedError
        Nothing was added yet, so that there is nothing to be compared with.
    UpgradeError
        Another process has changed the collection since the call began; nothing was changed.
    MissingExtraError
        PyTorch is not installed.
    """
    with opened(collection, engine) as own, span("recode", own.name, logger):
        run(own.engine, _recode_steps(own, new, old, encoder))


def _recode_steps(
    collection: Collection, new: ArrayLike, old: ArrayLike, encoder: Encoder | str | None
) -> Steps[None]:
    yield from collection._handle.follow_steps()
    before, recipe = collection._pipeline, collection.recipe
    name = _coded_vector(recipe)
    branch = before.dense(name)
    dense, older = branch.recipe, branch.codes
    if not before.fitted:
        raise NotFittedError(f"{collection.name!r} has no codes yet: create it anew for the new model")
    assert isinstance(older, RecurrentBinaryQuantizer)
    old_vectors = check_dense(old, dense.dim, len(old), "old")  # type: ignore[arg-type]
    dim = len(new[0]) if len(new) else dense.dim  # type: ignore[arg-type, index]
    new_vectors = check_dense(new, dim, len(old_vectors), "new")
    codes = replace(older, dim_out=older.width)
    yield Call.compute(lambda: codes.fit(new_vectors, older=older, older_X=old_vectors))
    coded = dense.model_copy(update={"dim": dim, "codes": codes})
    version = branch.version.model_copy(update={"model": branch.version.model + 1})
    model = load_encoder(encoder) if isinstance(encoder, str) else encoder
    pipeline = before.changed(
        recipe.model_copy(
            update={"dense": {name: coded}, "encoder": encoder if isinstance(encoder, str) else None}
        ),
        {name: version},
        model,
    )
    others = {
        key: array for key, array in before.get_state().items() if not key.startswith(f"{dense_key(name)}.")
    }
    pipeline.set_state(others)
    if not (yield from save_manifest_steps(collection.engine, collection.name, pipeline)):
        raise UpgradeError(
            f"another process has changed {collection.name!r} since the new codes were begun: nothing was "
            "installed"
        )
    collection.reload(encoder=model)
    logger.info("collection %r has codes of version %d of its model", collection.name, version.model)


def _coded_vector(recipe: Recipe) -> str:
    if recipe.tokens is not None:
        raise InvalidArgumentError("recipe.tokens", "none: they are of the old model", "tokens")
    if len(recipe.dense) != 1:
        raise InvalidArgumentError("recipe.dense", "one vector", [*recipe.dense])
    (name,) = recipe.dense
    dense = recipe.dense[name]
    if not dense.signs or not isinstance(dense.codes, RecurrentBinaryQuantizer):
        expected = "signs of codes of the kind recurrent_binary, which two models can share"
        raise InvalidArgumentError(f"recipe.dense.{name}.signs", expected, dense.signs)
    if dense.codes.queries != "codes":
        expected = "'codes', because exact queries of one model cannot be compared with codes of another"
        raise InvalidArgumentError(f"recipe.dense.{name}.codes.queries", expected, repr(dense.codes.queries))
    return name
