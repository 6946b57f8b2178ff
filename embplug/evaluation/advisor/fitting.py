"""Fitted state of trial recipes: each method is fitted once, whichever recipes use it."""

from __future__ import annotations

from embplug.branches.complete import reduce_tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.encoders import Encoded
from embplug.evaluation.advisor.sample import FIT_DOCUMENTS
from embplug.methods.encodings.fde import FDE
from embplug.methods.numeric.arrays import State
from embplug.recipe import Dense, Recipe, Tokens
from embplug.recipe.names import DENSE
from embplug.recipe.recipe import digest


def learned_state(recipe: Recipe, documents: Encoded, known: dict[str, State] | None = None) -> State:
    """Fit the methods of a recipe to the first 2,000 documents.

    Parameters
    ----------
    recipe : Recipe
        Recipe whose methods are fitted.
    documents : Encoded
        Vectors of the documents.
    known : dict of str to State, default=None
        States of methods that are fitted to these documents already, by the digest of the method. The
        states of further methods are added.

    Returns
    -------
    State
        Fitted arrays of all methods of the recipe.
    """
    known = {} if known is None else known
    state: State = {}
    for part in _learning_parts(recipe):
        key = digest(part.to_dict())
        if key not in known:
            pipeline = Pipeline(part)
            if not pipeline.fitted:
                sample = documents.take(range(min(FIT_DOCUMENTS, len(documents))))
                dense = {} if sample.dense is None else {DENSE: sample.dense}
                tokens = None if sample.tokens is None else sample.tokens.to_float32()
                pipeline.fit(reduce_tokens(CheckedSample(tokens, dense), pipeline))
            known[key] = pipeline.get_state()
        state |= known[key]
    return state


def _learning_parts(recipe: Recipe) -> list[Recipe]:
    """Split a recipe into recipes that each hold one of its methods that learn."""
    parts = [
        Recipe(
            dense={
                name: Dense(
                    dim=dense.dim,
                    distance=dense.distance,
                    transforms=dense.transforms,
                    codes=dense.codes,
                    signs=dense.signs,
                )
            }
        )
        for name, dense in recipe.dense.items()
    ]
    tokens = recipe.tokens
    if tokens is not None:
        tokens = tokens.decided()
        if tokens.encoding is not None:
            parts.append(
                Recipe(
                    tokens=Tokens(
                        dim=tokens.dim,
                        encoding=tokens.encoding,
                        reduction=tokens.reduction,
                        multivector=None,
                        codes=None,
                    )
                )
            )
        if tokens.codes is not None:
            coded = Tokens(
                dim=tokens.dim,
                encoding=FDE(),
                codes=tokens.codes,
                document_bytes=tokens.document_bytes,
                shortlist_bytes=tokens.shortlist_bytes,
                reduction=tokens.reduction,
                multivector=None,
            )
            parts.append(Recipe(tokens=coded))
    return parts
