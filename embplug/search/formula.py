"""Scores by a formula of Qdrant, over the scores of the last stage: boosts, recency, distances.

The formula is evaluated in this process, so that it sees the scores of every kind of search, on each engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel
from qdrant_client import models
from qdrant_client.hybrid.formula import evaluate_expression, parse_defaults, validate_expression

from embplug.common.ids import point_id
from embplug.common.payload_paths import checked_path, path_of_field
from embplug.errors import InvalidArgumentError
from embplug.search.types import Hit

FORMULA_STAGE = "formula"
SCORE = "$score"

_CONDITIONS: tuple[type[Any], ...] = get_args(models.Condition)
_PATHS = {"datetime_key", "to"}
"""Fields of expressions that are paths into the payload; other texts are variables or dates."""


class Formula:
    """A formula that was checked.

    Parameters
    ----------
    query : models.FormulaQuery
        Formula and defaults as the user passes them.
    checked_filter : callable
        Checks a filter of the user, and maps its ids to those of points.

    Attributes
    ----------
    fields : list of str
        Paths of the payload fields that the formula reads.

    Raises
    ------
    InvalidArgumentError
        The formula is wrong, or reads what hits do not have.
    FilterError
        A condition of the formula is wrong.
    """

    def __init__(
        self,
        query: models.FormulaQuery,
        checked_filter: Callable[[models.Filter], models.Filter | None],
    ) -> None:
        self._roots: dict[str, None] = {}
        self._checked_filter = checked_filter
        self._expression = self._mapped(query.formula, "formula")
        try:
            validate_expression(self._expression)
            self._defaults = parse_defaults(query.defaults or {})
        except ValueError as error:
            raise InvalidArgumentError("formula", "a formula that Qdrant can read", error) from None

    @property
    def fields(self) -> list[str]:
        """Paths of the payload fields that the formula reads."""
        return [*self._roots]

    def scored(self, hits: Sequence[Hit]) -> list[Hit]:
        """Rank hits by the formula, best first, each with its score as the stage ``"formula"``.

        Parameters
        ----------
        hits : sequence of Hit
            Hits with the payload fields ``fields``.

        Returns
        -------
        list of Hit
            The hits in their new order.

        Raises
        ------
        InvalidArgumentError
            The formula has no finite value for a document; the error names the first such document.
        """
        scored = []
        for hit in hits:
            score = self._value(hit)
            stages = {**(hit.stages or {}), FORMULA_STAGE: score}
            scored.append(replace(hit, score=score, stages=stages))
        return sorted(scored, key=lambda hit: -hit.score)

    def _value(self, hit: Hit) -> float:
        point = point_id(hit.id, "id")
        scores: list[Any] = [{point: hit.score}]
        try:
            value = evaluate_expression(
                self._expression, point, scores, hit.payload or {}, {}, self._defaults
            )
            value = float(value)
        # A date that is a number in one payload has no text to parse.
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            expected = "a value for each document; defaults stand for fields that are not there"
            raise InvalidArgumentError("formula", expected, f"for document {hit.id!r}: {error}") from None
        if not math.isfinite(value):
            raise InvalidArgumentError("formula", "finite values", f"{value} for document {hit.id!r}")
        return value

    def _mapped(self, expression: Any, place: str) -> Any:
        """Check an expression, note what it reads, and map the ids of its conditions."""
        if isinstance(expression, str):
            self._read(expression, place)
            return expression
        if isinstance(expression, _CONDITIONS):
            return self._mapped_condition(expression, place)
        if isinstance(expression, list):
            return [self._mapped(item, f"{place}[{i}]") for i, item in enumerate(expression)]
        if not isinstance(expression, BaseModel):
            return expression
        changed = {}
        for name in type(expression).model_fields:
            value, inner = getattr(expression, name), f"{place}.{name}"
            if name in _PATHS:
                self._read(value, inner)
            elif name != "datetime" and value is not None:
                changed[name] = self._mapped(value, inner)
        return expression.model_copy(update=changed)

    def _mapped_condition(self, condition: Any, place: str) -> Any:
        whole = condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])
        for key in _keys(whole, place):
            self._read(key, place)
        return self._checked_filter(whole)

    def _read(self, variable: str, place: str) -> None:
        if variable.startswith("$"):
            if variable not in (SCORE, f"{SCORE}[0]"):
                raise InvalidArgumentError(place, f"{SCORE!r}, the score of the last stage", repr(variable))
            return
        path = checked_path(variable, place)
        self._roots[path_of_field(path.field) or path.text] = None


def _keys(condition: Any, place: str) -> list[str]:
    """Paths of all fields on which a condition depends."""
    if isinstance(condition, models.HasVectorCondition):
        raise InvalidArgumentError(place, "conditions on the payload or on ids", "a HasVectorCondition")
    if isinstance(condition, models.NestedCondition):
        return [condition.nested.key]
    if isinstance(condition, models.IsEmptyCondition):
        return [condition.is_empty.key]
    if isinstance(condition, models.IsNullCondition):
        return [condition.is_null.key]
    if isinstance(condition, models.FieldCondition):
        return [condition.key]
    if not isinstance(condition, models.Filter):
        return []
    clauses: list[Any] = [condition.must, condition.should, condition.must_not]
    clauses.append(condition.min_should and condition.min_should.conditions)
    listed = [clause if isinstance(clause, list) else [clause] for clause in clauses if clause]
    return [key for clause in listed for inner in clause for key in _keys(inner, place)]
