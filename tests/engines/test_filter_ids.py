"""Conditions on ids of documents, which engines know by the ids of points."""

from __future__ import annotations

import uuid

import pytest
from qdrant_client import models

from embplug.common.ids import point_id
from embplug.engines.filter_ids import with_point_ids
from embplug.errors import InvalidArgumentError

UUID = uuid.UUID(int=7)
WORD = point_id("doc/a", "id")


def has(*ids: object) -> models.HasIdCondition:
    return models.HasIdCondition(has_id=[*ids])


def around(condition: models.HasIdCondition) -> list[models.Filter]:
    """The condition at every place where a filter takes one."""
    nested = models.Filter(must=[condition])
    return [
        models.Filter(must=[condition]),
        models.Filter(must=condition),
        models.Filter(should=[condition]),
        models.Filter(must_not=[condition]),
        models.Filter(min_should=models.MinShould(conditions=[condition], min_count=1)),
        models.Filter(must_not=[models.Filter(should=[models.Filter(must=[condition])])]),
        models.Filter(should=[models.NestedCondition(nested=models.Nested(key="a", filter=nested))]),
    ]


@pytest.mark.parametrize("place", range(7))
def test_ids_are_mapped_wherever_they_stand(place: int) -> None:
    written = around(has("doc/a", 7, str(UUID)))[place]
    before = written.model_copy(deep=True)
    mapped = with_point_ids(written)
    expected = around(has(WORD, 7, str(UUID)))[place]
    if not isinstance(expected.must, (list, type(None))):
        expected = models.Filter(must=[expected.must])
    assert mapped == expected
    assert written == before
    assert with_point_ids(mapped) == mapped


def test_a_filter_without_ids_stays_itself() -> None:
    other = models.IsEmptyCondition(is_empty=models.PayloadField(key="a"))
    condition = models.Filter(must=[models.Filter(must_not=[other])], should=other)
    assert with_point_ids(condition) is condition


def test_a_wrong_id_is_named_with_its_place() -> None:
    condition = models.Filter(must_not=[models.Filter(must=[has("a", "")])])
    with pytest.raises(InvalidArgumentError) as raised:
        with_point_ids(condition)
    assert raised.value.argument == "filter.must_not[0].must[0].has_id[1]"
