"""Methods of other packages: a decorator is all that recipes need to know them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from pydantic.dataclasses import dataclass

from embplug import Collection, Dense, Recipe, Tokens
from embplug import methods as public
from embplug.engines import EdgeClient
from embplug.errors import InvalidArgumentError, RecipeError
from embplug.methods import FDE, Transform, register, registered, registry
from embplug.methods.registry import ROLES, is_built_in
from tests.methods.table import CASES


@pytest.fixture
def reversing() -> Iterator[Any]:
    """A transform that a test registers."""

    @register("reversed", roles=("transform",))
    @dataclass
    class Reversed(Transform):
        scale: float = 1.0
        kind: Literal["reversed"] = "reversed"

        def output_dim(self, dim: int) -> int:
            return dim

        def _transform(self, vectors: Any) -> Any:
            return self.scale * vectors[:, ::-1]

    yield Reversed
    del registry._registered["transform"]["reversed"]


def test_a_registered_method_stands_in_recipes_and_collections(
    reversing: Any, edge_client: EdgeClient
) -> None:
    recipe = Recipe(dense=Dense(dim=4, transforms=[reversing(scale=2)]))
    assert Recipe.from_yaml("dense: {dim: 4, transforms: [{kind: reversed, scale: 2}]}") == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.model_dump(mode="json")["dense"]["dense"]["transforms"] == [
        {"scale": 2, "kind": "reversed"}
    ]
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    Collection.create("turned", recipe, edge_client).add(range(20), dense=vectors)
    collection = Collection.open("turned", edge_client)
    assert collection.search(dense=vectors[7], limit=1)[0].id == 7
    assert collection.describe()["dense.dense.transforms.0"]["method"] == "reversed"
    assert not is_built_in(reversing)


def test_a_registered_class_is_found_by_its_name(reversing: Any) -> None:
    assert public.Reversed is reversing  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        public.Turned  # type: ignore[attr-defined]  # noqa: B018


def test_a_kind_that_is_not_registered_is_refused_with_those_that_are() -> None:
    listed = r"ITQRotation \(kind: itq_rotation\), .*, Truncation \(kind: truncation\)"
    with pytest.raises(RecipeError, match=rf"^dense\.dense\.transforms\.0: .*{listed}"):
        Recipe.from_yaml("dense: {dim: 4, transforms: [{kind: reversed}]}")
    listed = r"one of BitAllocationQuantizer \(kind: bit_allocation\)"
    with pytest.raises(RecipeError, match=rf"^dense\.dense\.codes: .*{listed}"):
        Recipe.from_yaml("dense: {dim: 4, codes: {size: 3}}")
    with pytest.raises(RecipeError, match=r"^dense\.dense\.codes\.size"):
        Recipe.from_yaml("dense: {dim: 4, codes: {kind: bit_allocation, size: 0}}")
    with pytest.raises(RecipeError, match=r"^codes: expected one of .*\(kind: .*, got FDE$"):
        Dense(dim=4, codes=public.FDE())


def test_wrong_registrations_are_refused(reversing: Any) -> None:
    with pytest.raises(ValueError, match=r"^roles: .*'magic'"):
        register("reversed", roles=("magic",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^kind: expected 'turned'"):
        register("turned", roles=("transform",))(reversing)
    with pytest.raises(ValueError, match=r"^kind: 'pca' is PCA"):

        @register("pca", roles=("transform",))
        @dataclass
        class Other(Transform):
            kind: Literal["pca"] = "pca"

    assert registered("transform")["pca"] is public.PCA


def test_wrong_roles_are_named() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^role: expected one of .*'transform'.*, got 'transfrm'$"
    ):
        registered("transfrm")  # type: ignore[arg-type]
    with pytest.raises(
        InvalidArgumentError, match=r"^roles: expected a tuple .*\('transform',\), got 'transform'$"
    ):
        register("reversed", roles="transform")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: public.PCA(0), "PCA.dim: expected greater than or equal to 1, got 0"),
        (
            lambda: public.PCA(n_components=4),
            "PCA.n_components: expected the name of a field, got an unknown "
            "field; the fields are dim, center, whiten, normalize, solver, seed",
        ),
        (
            lambda: public.PCA(dims=4),
            "PCA.dims: expected the name of a field, got an unknown field; did you mean 'dim'?",
        ),
    ],
)
def test_a_wrong_parameter_is_named_with_its_class(make: Any, told: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        make()
    assert str(raised.value) == told


@pytest.mark.parametrize(
    "call",
    [
        lambda values: public.FDE().encode_documents(values),
        lambda values: public.FDE().encode_queries(values),
        lambda values: public.LearnedEncoding().fit(values),
        lambda values: public.TokenIDF().fit(values),
        lambda values: public.HierarchicalPooling().reduce(values),
        lambda values: public.PredictiveQuantizer().fit(values),
    ],
)
def test_lists_in_place_of_a_token_batch_are_named(call: Any) -> None:
    told = r"^(tokens|documents): expected a TokenBatch, got list; use TokenBatch\.from_list$"
    with pytest.raises(InvalidArgumentError, match=told):
        call([np.ones((2, 4))])


def test_a_query_that_is_not_encoded_is_named() -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    quantizer = public.BinaryQuantizer().fit(vectors)
    with pytest.raises(
        InvalidArgumentError, match=r"^query: expected the result of encode_query, got ndarray$"
    ):
        quantizer.score(vectors[0], quantizer.encode(vectors))  # type: ignore[arg-type]


NUMBERS = [
    (role, kind, field.name)
    for role in ROLES
    for kind, cls in registered(role).items()
    if is_built_in(cls)
    for field in dataclasses.fields(cls)
    if "int" in str(field.type) and field.name != "seed"
]


@pytest.mark.parametrize(("role", "kind", "name"), NUMBERS)
def test_sizes_that_no_memory_suffices_for_are_refused(role: Any, kind: str, name: str) -> None:
    cls = registered(role)[kind]
    example = next(case.method for case in CASES.values() if type(case.method) is cls)
    for huge in (10**9, 10**15):
        with pytest.raises(InvalidArgumentError, match=rf"^{cls.__name__}.*{name}"):
            dataclasses.replace(example, **{name: huge})


def test_an_encoding_that_no_vector_can_hold_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"encoding: expected one of at most 65,536 dimensions"):
        Recipe(tokens=Tokens(dim=128, encoding=FDE(repetitions=60000)))
