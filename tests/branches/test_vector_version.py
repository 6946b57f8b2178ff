"""What a collection remembers of the models that make its dense vectors."""

from __future__ import annotations

from typing import Any

import pytest

from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.errors import RecipeError
from embplug.methods import Procrustes

PREVIOUS = PreviousModel(dim=4, stored_as="dense", adapter=Procrustes(center=False), factor=0.5, offset=-1.0)


def test_without_an_upgrade_it_is_the_first_model() -> None:
    version = VectorVersion()
    assert (version.model, version.stored_as, version.previous) == (1, None, None)
    assert (PreviousModel(dim=1, stored_as="d", adapter=Procrustes()).factor) == 1.0


def test_it_survives_json() -> None:
    version = VectorVersion(model=2, stored_as="dense_v2", previous=PREVIOUS)
    stored = version.model_dump(mode="json")
    assert stored["previous"]["adapter"]["kind"] == "procrustes"
    assert VectorVersion(**stored) == version


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"model": 0}, "model"),
        ({"unknown": 1}, "unknown"),
        ({"previous": {"dim": 0, "stored_as": "d", "adapter": {"kind": "procrustes"}}}, "previous.dim"),
        ({"previous": {"dim": 4, "stored_as": "", "adapter": {"kind": "procrustes"}}}, "previous.stored_as"),
        ({"previous": {"dim": 4, "stored_as": "d", "adapter": {"kind": "pca"}}}, "previous.adapter"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(RecipeError) as raised:
        VectorVersion(**fields)
    assert raised.value.argument == argument


def test_it_is_never_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        VectorVersion().model = 2
