"""The manifest: it comes back as it was, tells when it was altered, and reads version 1."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from embplug import Collection, Dense, Multivector, Recipe, Tokens
from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.collection.listing import list_collections
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.state import load
from embplug.engines import connect
from embplug.errors import EmbplugError, NotAnEmbplugCollectionError, RecipeVersionError, StateError
from embplug.methods import FDE, PCA, Procrustes
from embplug.recipe.recipe import digest

RECIPE = Recipe(
    tokens=Tokens(dim=8, encoding=FDE(repetitions=3), multivector=Multivector(), codes=None),
    dense={"b": Dense(dim=4, transforms=[PCA(2)]), "a": Dense(dim=3)},
    text_key="body",
)
REFERENCE = {"sha256": "0" * 64, "bytes": 12}
VERSIONS = {
    "b": VectorVersion(
        model=2,
        stored_as="b_v2",
        previous=PreviousModel(dim=4, stored_as="b", adapter=Procrustes(), factor=0.5, offset=0.1),
    ),
    "a": VectorVersion(model=3),
}
BEFORE = RECIPE.model_copy(update={"text_key": "text"})


def stored(manifest: Manifest) -> dict[str, Any]:
    """As it comes back from an engine."""
    return json.loads(json.dumps(manifest.to_dict(), sort_keys=True))


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(RECIPE),
        Manifest(RECIPE, REFERENCE),
        Manifest(RECIPE, {**REFERENCE, "partial": True}, VERSIONS),
        Manifest(RECIPE, REFERENCE, VERSIONS, BEFORE, "0.0.1"),
    ],
    ids=["recipe", "state", "versions", "whole"],
)
def test_it_comes_back_as_it_was(manifest: Manifest) -> None:
    assert Manifest.from_dict("docs", stored(manifest)) == manifest


@pytest.mark.parametrize("direction", [-math.inf, math.inf])
@pytest.mark.parametrize("factor", [0.9999208310605001, 1 / 3, 3.844894912893859e-05])
def test_a_last_bit_that_a_server_loses_is_no_alteration(factor: float, direction: float) -> None:
    previous = PreviousModel(dim=4, stored_as="b", adapter=Procrustes(), factor=factor, offset=0.1)
    manifest = Manifest(RECIPE, REFERENCE, {"b": VectorVersion(model=2, stored_as="b_v2", previous=previous)})
    contents = stored(manifest)
    kept = contents["versions"]["b"]["previous"]
    kept["factor"] = math.nextafter(kept["factor"], direction)
    read = Manifest.from_dict("docs", contents).versions["b"].previous
    assert read is not None and read.factor == pytest.approx(factor, rel=1e-11)
    kept["factor"] *= 1 + 1e-9
    with pytest.raises(StateError, match="sha256"):
        Manifest.from_dict("docs", contents)


def test_it_tells_which_version_wrote_it() -> None:
    assert Manifest(RECIPE).created_with == version("embplug") == stored(Manifest(RECIPE))["embplug"]


def test_what_no_upgrade_has_changed_takes_no_room() -> None:
    assert {*stored(Manifest(RECIPE))} == {"embplug", "recipe", "state", "sha256"}
    assert {*stored(Manifest(RECIPE, None, VERSIONS, BEFORE))} - {*stored(Manifest(RECIPE))} == {
        "versions",
        "created_from",
    }


def test_the_order_of_names_makes_no_difference() -> None:
    other = dict(reversed(VERSIONS.items()))
    assert Manifest(RECIPE, None, other).to_dict() == Manifest(RECIPE, None, VERSIONS).to_dict()


def altered(change: Any) -> dict[str, Any]:
    manifest = stored(Manifest(RECIPE, REFERENCE, VERSIONS, BEFORE))
    change(manifest)
    return manifest


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["recipe"].update(text_key="other"),
        lambda m: m["recipe"]["tokens"]["encoding"].update(repetitions=4),
        lambda m: m["state"].update(bytes=13),
        lambda m: m.update(state=None),
        lambda m: m["versions"]["b"].update(model=5),
        lambda m: m["created_from"].update(text_key="other"),
        lambda m: m.update(embplug="9.9"),
        lambda m: m.update(sha256="0" * 64),
        lambda m: m.pop("sha256"),
        lambda m: m.pop("state"),
        lambda m: m.pop("versions"),
        lambda m: m.pop("recipe"),
        lambda m: m.update(unknown=1),
    ],
)
def test_what_was_altered_is_refused_and_the_error_says_what_to_do(change: Any) -> None:
    with pytest.raises(StateError, match=r"'docs' was altered.*backup or snapshot"):
        Manifest.from_dict("docs", altered(change))


@pytest.mark.parametrize("fields", [{"unknown": 1}, {"state": ...}])
def test_a_digest_that_matches_does_not_make_other_fields_known(fields: dict[str, Any]) -> None:
    contents = {key: value for key, value in stored(Manifest(RECIPE)).items() if key != "sha256"}
    for key, value in fields.items():
        if value is ...:
            del contents[key]
        else:
            contents[key] = value
    with pytest.raises(StateError, match="altered"):
        Manifest.from_dict("docs", {**contents, "sha256": digest(contents)})


def test_a_newer_recipe_is_told_before_its_digest_is_read() -> None:
    with pytest.raises(RecipeVersionError, match="version 99"):
        Manifest.from_dict("docs", altered(lambda m: m["recipe"].update(version=99, unknown=1)))


def test_the_recipe_before_an_upgrade_and_the_one_after_do_not_differ() -> None:
    upgraded = Manifest(RECIPE, REFERENCE, VERSIONS, BEFORE)
    assert upgraded.differences(RECIPE) == {}
    assert upgraded.differences(BEFORE) == {}
    third = RECIPE.model_copy(update={"text_key": "third"})
    assert upgraded.differences(third) == {"text_key": ("body", "third")}


def test_without_an_upgrade_only_the_same_recipe_does_not_differ() -> None:
    assert Manifest(RECIPE).differences(RECIPE) == {}
    assert Manifest(RECIPE).differences(BEFORE) == {"text_key": ("body", "text")}


def test_an_encoding_left_open_is_the_one_that_was_decided() -> None:
    open_recipe = RECIPE.model_copy(update={"tokens": Tokens(dim=8, multivector=Multivector(), codes=None)})
    assert Manifest(RECIPE).differences(open_recipe) == {}
    other = RECIPE.model_copy(
        update={"tokens": Tokens(dim=8, encoding=FDE(repetitions=4), multivector=Multivector(), codes=None)}
    )
    assert Manifest(RECIPE).differences(other) == {"tokens.encoding.repetitions": (3, 4)}


def test_what_has_learned_makes_no_difference() -> None:
    pca = PCA(2).fit([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
    learned = RECIPE.model_copy(update={"dense": {**RECIPE.dense, "b": Dense(dim=4, transforms=[pca])}})
    assert Manifest(RECIPE).differences(learned) == {}


def of_version_1(**fields: Any) -> dict[str, Any]:
    """The manifest of ``RECIPE`` with the names of version 1."""
    recipe = RECIPE.to_dict()
    tokens = recipe["tokens"]
    names = {"encoding": "fde", "encoding_storage": "fde_storage", "multivector": "matrix"}
    old_tokens = {names.get(name, name): value for name, value in tokens.items()}
    dense = {
        name: {**part, "model": 1, "stored_as": None, "previous": None, **fields.get(name, {})}
        for name, part in recipe["dense"].items()
    }
    contents = {
        "embplug": "0.1.0",
        "recipe": {**recipe, "version": 1, "tokens": old_tokens, "dense": dense},
        "state": REFERENCE,
    }
    return {**contents, "sha256": digest(contents)}


def test_a_recipe_of_version_1_has_the_names_of_today() -> None:
    manifest = Manifest.from_dict("docs", of_version_1())
    assert manifest == Manifest(RECIPE, REFERENCE, {}, None, "0.1.0")
    assert manifest.recipe.version == 2


def test_what_an_upgrade_kept_in_a_recipe_of_version_1_is_the_manifests() -> None:
    upgrading = VERSIONS["b"].model_dump(mode="json")
    manifest = Manifest.from_dict("docs", of_version_1(b=upgrading, a={"model": 3}))
    assert manifest.recipe == RECIPE
    assert manifest.versions == VERSIONS
    finished = Manifest.from_dict("docs", of_version_1(a={"model": 2, "stored_as": "a_v2"}))
    assert finished.versions == {"a": VectorVersion(model=2, stored_as="a_v2")}


def test_an_altered_recipe_of_version_1_is_refused_too() -> None:
    manifest = of_version_1()
    manifest["recipe"]["dense"]["a"]["model"] = 2
    with pytest.raises(StateError, match="altered"):
        Manifest.from_dict("docs", manifest)


def test_a_recipe_of_version_1_may_lack_tokens_and_dense() -> None:
    recipe = Recipe(dense=Dense(dim=3)).to_dict()
    contents = {"embplug": "0.1.0", "recipe": {**recipe, "version": 1}, "state": None}
    manifest = Manifest.from_dict("docs", {**contents, "sha256": digest(contents)})
    assert manifest.recipe == Recipe(dense=Dense(dim=3)) and manifest.versions == {}


def test_it_is_read_from_the_metadata_of_a_collection(memory_client: Any) -> None:
    metadata = {"mine": 1, MANIFEST_KEY: Manifest(RECIPE, REFERENCE).to_dict()}
    memory_client.create_collection("docs", vectors_config={}, metadata=metadata)
    assert read_manifest("docs", memory_client.get_collection("docs")) == Manifest(RECIPE, REFERENCE)
    memory_client.create_collection("plain", vectors_config={})
    with pytest.raises(NotAnEmbplugCollectionError, match="'plain'"):
        read_manifest("plain", memory_client.get_collection("plain"))


WRONG: list[Any] = [None, True, 0, -1, 10**15, 1.5, "", "text", "../../x", [], [1], {}, {"a": 1}, "0" * 64]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value inside of JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


WHOLE = {**Manifest(RECIPE, {**REFERENCE, "partial": True}, VERSIONS, BEFORE).to_dict()}
del WHOLE["sha256"]


@pytest.mark.parametrize("place", places(WHOLE), ids=str)
def test_values_of_other_types_give_a_typed_error_or_the_value(place: tuple[Any, ...]) -> None:
    for wrong in WRONG:
        altered = replaced(WHOLE, place, wrong)
        if isinstance(altered, dict):
            altered = {**altered, "sha256": digest(altered)}
        info = SimpleNamespace(config=SimpleNamespace(metadata={MANIFEST_KEY: altered}))
        try:
            manifest = read_manifest("docs", info)  # type: ignore[arg-type]
            again = Manifest.from_dict("docs", stored(manifest))
            if manifest.state is not None:
                next(load(connect(":memory:"), "docs", manifest.state))
        except EmbplugError as error:
            assert str(error)
            continue
        assert again == manifest


def test_a_reference_that_is_none_is_refused_before_anything_is_read() -> None:
    for reference in (
        {},
        {"sha256": "0" * 64},
        {**REFERENCE, "bytes": 10**15},
        {**REFERENCE, "bytes": 0},
        {**REFERENCE, "bytes": True},
        {**REFERENCE, "bytes": 12.0},
        {**REFERENCE, "sha256": "../" * 10 + "x"},
        {**REFERENCE, "sha256": 0},
        {**REFERENCE, "partial": "no"},
    ):
        with pytest.raises(StateError, match="its reference"):
            next(load(connect(":memory:"), "docs", reference))


def test_metadata_that_is_nested_too_deep_to_be_read_is_named(memory_client: Any) -> None:
    Collection.create("docs", Recipe(dense=Dense(dim=2)), memory_client)
    deep: Any = []
    for _ in range(2000):
        deep = [deep]
    memory_client._client.collections["docs"].config.metadata[MANIFEST_KEY] = deep
    with pytest.raises(StateError, match=r"metadata of collection 'docs' cannot be read: .* too deep"):
        Collection.open("docs", memory_client)


@pytest.mark.parametrize("depth", [300, 2000])
def test_a_recipe_that_is_nested_too_deep_leaves_the_other_collections_listed(
    memory_client: Any, depth: int
) -> None:
    for name in ("deep", "docs"):
        Collection.create(name, Recipe(dense=Dense(dim=2)), memory_client)
    deep: Any = {}
    for _ in range(depth):
        deep = {"tokens": deep}
    manifest = {"embplug": "1", "recipe": deep, "state": None}
    memory_client._client.collections["deep"].config.metadata[MANIFEST_KEY] = manifest
    unreadable, readable = list_collections(memory_client)
    assert (unreadable.name, readable.name) == ("deep", "docs")
    assert unreadable.error and readable.error is None and readable.is_embplug
