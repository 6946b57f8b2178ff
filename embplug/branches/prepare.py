"""Queries of users as the stages of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from embplug.branches.base import Branch
from embplug.branches.images import checked_encoded, encode_images, text_encoder
from embplug.branches.queries import CheckedQuery, check_query
from embplug.common.telemetry import span
from embplug.common.validation import short_repr
from embplug.encoders import Encoded, Encoder
from embplug.errors import InvalidArgumentError
from embplug.recipe import Recipe
from embplug.search.code_cache import CodeCache
from embplug.search.cross_encoder import CrossEncoder
from embplug.search.stages import PreparedQuery
from embplug.search.types import Query, SearchOptions

Branches: TypeAlias = Mapping[str, Branch]
"""Branches of a recipe, or those of them that a search uses, by name."""


def chosen_branches(branches: Branches, names: Sequence[str] | None) -> Branches:
    """The branches that the user names; all of them without names.

    Raises
    ------
    InvalidArgumentError
        A name is unknown, or there is none.
    """
    if names is None:
        return branches
    known = [*branches]
    if isinstance(names, str) or not isinstance(names, Sequence):
        example = [names if isinstance(names, str) and names in known else known[0]]
        expected = f"a sequence, such as {example}, with some of {known}"
        raise InvalidArgumentError("branches", expected, short_repr(names))
    if not names:
        raise InvalidArgumentError("branches", f"some of {known}", repr(names))
    for i, name in enumerate(names):
        if not isinstance(name, str) or name not in known:
            raise InvalidArgumentError(f"branches[{i}]", f"one of {known}", short_repr(name))
    return {name: branch for name, branch in branches.items() if name in names}


def checked_queries(
    queries: Sequence[Query],
    recipe: Recipe,
    chosen: Branches,
    encoder: Callable[[str | None], Encoder],
    *,
    all_needed: bool,
    batch: bool = False,
) -> list[CheckedQuery]:
    """Check queries, and let the encoder make what they lack of their images and texts, all in one batch.

    Parameters
    ----------
    queries : sequence of Query
        As the user passes them.
    recipe : Recipe
        Says what a query may have.
    chosen : mapping of str to Branch
        The branches that are searched.
    encoder : callable
        Returns the encoder of a name, or the recipe's for None; called only where an image or a text has to
        become a vector.
    all_needed : bool
        Whether the query needs something for each chosen branch, because the user named them.
    batch : bool, default=False
        Whether errors name a query by its place, as in ``queries[1].text``.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong or missing. The error names it.
    """
    checked = []
    for i, passed in enumerate(queries):
        with naming_query(i if batch else None):
            checked.append(check_query(passed, recipe))
    unread: dict[tuple[str | None, bool], dict[int, list[Branch]]] = {}
    for i, query in enumerate(checked):
        for name, own in by_encoder(_lacking(query, chosen, all_needed)).items():
            by_image = query.image is not None and name is None
            if by_image or query.text is not None:
                unread.setdefault((name, by_image), {})[i] = own
    for (name, by_image), rows in unread.items():
        model = encoder(name)
        encoded: Encoded
        with span("encode_queries", encoder=model.spec, queries=len(rows)):
            if by_image:
                images = [image for i in rows if (image := checked[i].image) is not None]
                encoded = encode_images(model, images)
            else:
                texts = [str(checked[i].text) for i in rows]
                encoded = checked_encoded(text_encoder(model).encode_queries(texts), model.spec)
        for row, (i, own) in enumerate(rows.items()):
            for branch in takers(own, model.spec):
                checked[i] = branch.take_query(checked[i], encoded, row, model.spec)
    for i, query in enumerate(checked):
        with naming_query(i if batch else None):
            _check_has_something(query, chosen, all_needed)
    return checked


@contextmanager
def naming_query(place: int | None) -> Iterator[None]:
    """Make the errors of checks name the query of a batch."""
    try:
        yield
    except InvalidArgumentError as error:
        if place is None:
            raise
        raise type(error)(f"queries[{place}].{error.argument}", error.expected, error.got) from error


def by_encoder(lacking: Sequence[Branch]) -> dict[str | None, list[Branch]]:
    """Group branches that take vectors from an encoder by its name; None is the recipe's."""
    groups: dict[str | None, list[Branch]] = {}
    for branch in lacking:
        if branch.encoder_output is not None:
            groups.setdefault(branch.encoder_name, []).append(branch)
    return groups


def takers(lacking: Sequence[Branch], spec: str) -> list[Branch]:
    """Branches that take what they lack from the encoder ``spec``.

    Raises
    ------
    InvalidArgumentError
        Several dense vectors are missing: an encoder makes one.
    """
    dense = [branch for branch in lacking if branch.encoder_output == "dense"]
    if len(dense) > 1:
        raise InvalidArgumentError(f"dense[{dense[0].name!r}]", "a vector", f"none from encoder {spec!r}")
    return [branch for branch in lacking if branch.encoder_output is not None]


def prepared_query(
    query: CheckedQuery,
    recipe: Recipe,
    chosen: Branches,
    cross_encoder: CrossEncoder | None,
    options: SearchOptions,
    *,
    payload_later: bool = False,
    cache: CodeCache | None = None,
) -> PreparedQuery:
    """The stages of one search.

    ``payload_later`` reads the payloads of the hits alone, in one request more. ``cache`` keeps codes that
    the search reads.

    Raises
    ------
    InvalidArgumentError
        No branch finds documents by this query.
    """
    for branch in chosen.values():
        query = branch.prepare(query)
    ranker = next(filter(None, (branch.ranker(query, options) for branch in chosen.values())), None)
    finders = {}
    for name, branch in chosen.items():
        # Where nothing ranks the hits again, their order is that of the branches.
        stage = branch.find(query, options, final=ranker is None)
        if stage is not None:
            finders[name] = stage
    if not finders and (ranker is None or ranker.by_codes is not None):
        expected = "a vector, because the recipe finds nothing by tokens"
        raise InvalidArgumentError("dense", expected, None)
    last_stage = recipe.rerank.cross_encoder
    return PreparedQuery(
        finders,
        ranker,
        fusion=recipe.fusion if options.fusion is None else options.fusion,
        candidates=recipe.rerank.candidates,
        text=query.text,
        cross_encoder=cross_encoder,
        cross_encoded=0 if last_stage is None else last_stage.candidates,
        payload_later=payload_later,
        cache=cache,
    )


def _lacking(query: CheckedQuery, chosen: Branches, all_needed: bool) -> list[Branch]:
    """Branches that the search needs, and for which the query has nothing yet."""
    branches = [*chosen.values()]
    lacking = [branch for branch in branches if not branch.has_query(query)]
    if not all_needed and any(branch.suffices and branch.has_query(query) for branch in branches):
        return [branch for branch in lacking if branch.encoder_name is not None]
    return lacking


def _check_has_something(query: CheckedQuery, chosen: Branches, all_needed: bool) -> None:
    """Refuse a query that has nothing to be compared by, or not what a branch needs."""
    present = [branch.has_query(query) for branch in chosen.values()]
    if not all_needed and not any(present):
        raise InvalidArgumentError("tokens", "tokens, dense, sparse, text or image", "none of them")
    for branch in chosen.values():
        if all_needed and not branch.has_query(query):
            raise branch.lacks_query()
