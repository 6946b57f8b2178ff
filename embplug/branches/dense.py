"""A dense branch: one vector of a document, transformed, with prefixes, its original, or codes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from qdrant_client import models

from embplug.branches.base import Branch, EncodedDocuments, search_params, vector_of
from embplug.branches.datatypes import check_stored, datatype_of_user
from embplug.branches.documents import CheckedDocuments, CheckedSample, check_dense
from embplug.branches.queries import CheckedQuery
from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.common.byte_strings import ByteStrings
from embplug.common.ids import DENSE_CODES, MODEL, Id
from embplug.encoders import Encoded
from embplug.errors import InvalidArgumentError, StateError
from embplug.methods.base import Method
from embplug.methods.numeric.arrays import Codes, Float32, State
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.roles import Quantizer, Transform
from embplug.recipe import Dense, Rerank, Storage
from embplug.search.diversity import dense_similarities
from embplug.search.payload_rerank import PayloadRerank, payload_codes
from embplug.search.stages import PreviousModelStage, Stage, nearest
from embplug.search.types import SearchOptions

CODES_KEY = "codes"
"""Last part of the key under which the state of a vector's codes is kept."""


class CodesLayout:
    """Where the codes of each dense vector lie in the payload field that all of them share.

    The order is that of the names: the order of a stored recipe's fields is lost on servers.
    """

    def __init__(self) -> None:
        self._quantizers: dict[str, Quantizer] = {}

    def add(self, name: str, quantizer: Quantizer) -> None:
        """Make room for the codes of a vector."""
        self._quantizers[name] = quantizer

    def part(self, name: str) -> slice:
        """Which bytes of a document's codes are those of a vector."""
        start = sum(quantizer.code_bytes for other, quantizer in self._quantizers.items() if other < name)
        return slice(start, start + self._quantizers[name].code_bytes)

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's codes of all vectors."""
        return sum(quantizer.code_bytes for quantizer in self._quantizers.values())


class DenseBranch(Branch):
    """One named vector of a recipe with what its transforms and codes have learned.

    Methods of the recipe that are fitted already are taken as they are.

    Parameters
    ----------
    name : str
        Name of the branch in the recipe.
    recipe : Dense
        What is stored.
    rerank : Rerank
        How candidates are found.
    version : VectorVersion, default=VectorVersion()
        Which model makes the vector, and its name in Qdrant.
    layout : CodesLayout, default=None
        Shared by the dense branches of a recipe.

    Attributes
    ----------
    stored : list of str
        Names in Qdrant of what is stored, coarsest first: each finds candidates for the next.
    codes : Quantizer or None
        Encodes the vectors into codes, and scores them.
    """

    encoder_output = "dense"

    def __init__(
        self,
        name: str,
        recipe: Dense,
        rerank: Rerank,
        version: VectorVersion | None = None,
        layout: CodesLayout | None = None,
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.rerank = rerank
        self.version = version or VectorVersion()
        self.transforms: list[Transform] = [copy.deepcopy(transform) for transform in recipe.transforms]
        self.codes: Quantizer | None = copy.deepcopy(recipe.codes)
        self.stored = recipe.stored_names(self.stored_as)
        previous = self.version.previous
        self._adapter = None if previous is None else copy.deepcopy(previous.adapter)
        self._layout = layout or CodesLayout()
        if self.codes is not None:
            self._layout.add(name, self.codes)
            self.codes_fields = (DENSE_CODES,)

    @property
    def absent_codes(self) -> bytes:
        """Zeros in place of the codes of a document without this vector."""
        return b"" if self.codes is None else bytes(self.codes.code_bytes)

    @property
    def stored_as(self) -> str:
        """Name in Qdrant of the vector itself; the empty string is that of a plain collection's only one."""
        return self.name if self.version.stored_as is None else self.version.stored_as

    def methods(self) -> dict[str, Any]:
        """Transforms, codes and the adapter, by the key of their state."""
        methods: dict[str, Any] = {
            f"{dense_key(self.name)}.{i}": transform for i, transform in enumerate(self.transforms)
        }
        if self.codes is not None:
            methods[f"{dense_key(self.name)}.{CODES_KEY}"] = self.codes
        if self._adapter is not None:
            methods[adapter_key(self.name)] = self._adapter
        return methods

    def places(self) -> dict[str, Any]:
        """All methods, by their place in the recipe."""
        places: dict[str, Any] = {f"transforms.{i}": method for i, method in enumerate(self.transforms)}
        places |= {"codes": self.codes, "previous.adapter": self._adapter}
        return {
            f"dense.{self.name}.{place}": method for place, method in places.items() if method is not None
        }

    def fitted_methods(self) -> Iterator[tuple[str, Method, int]]:
        """The codes, each transform, which reads what those before it make, and the adapter of an upgrade."""
        dim = self.recipe.dim
        if self.codes is not None:
            yield f"dense.{self.name}.codes", self.codes, dim
        for i, transform in enumerate(self.transforms):
            yield f"dense.{self.name}.transforms.{i}", transform, dim
            dim = transform.output_dim(dim)
        if self._adapter is not None:
            yield f"dense.{self.name}.previous.adapter", self._adapter, self.recipe.dim

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned, with the adapter of an upgrade, whose dimensions fit."""
        super().set_state(state)
        previous, adapter = self.version.previous, self._adapter
        if previous is None or adapter is None or not adapter.fitted:
            return
        dim = adapter.transform(np.zeros((1, self.recipe.dim), np.float32)).shape[1]
        if dim != previous.dim:
            raise StateError(
                f"the state of dense.{self.name}.previous.adapter maps to vectors of {dim} dimensions, and "
                f"those of the previous model have {previous.dim}"
            )

    def fit(self, sample: CheckedSample) -> None:
        """Fit each method on what the methods before it make of the sample's vectors."""
        if self.name not in sample.dense:
            expected = "vectors to learn transforms or codes from"
            raise InvalidArgumentError(f"sample.dense[{self.name!r}]", expected, None)
        vectors = self._prepared(sample.dense[self.name])
        queries = sample.dense_queries.get(self.name)
        queries = None if queries is None else self._prepared(queries)
        if self.codes is not None and not self.codes.fitted:
            self.codes.fit(vectors, queries)
        for transform in self.transforms:
            if not transform.fitted:
                transform.fit(vectors, queries)
            vectors = transform.transform(vectors)
            queries = None if queries is None else transform.transform_query(queries)

    def count_sample(self, sample: CheckedSample) -> int:
        """Number of vectors of this name in a sample."""
        return len(sample.dense.get(self.name, ()))

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of all that is stored; storage options go to what is searched first."""
        recipe = self.recipe
        config = {}
        for place, (name, dim) in enumerate(
            zip(self.stored, [*recipe.funnel, recipe.stored_dim], strict=False)
        ):
            config[name] = models.VectorParams(
                size=dim,
                distance=recipe.stored_distance,
                datatype=recipe.datatype,
                on_disk=recipe.on_disk,
                hnsw_config=recipe.hnsw if place == 0 else models.HnswConfigDiff(m=0),
                quantization_config=recipe.quantization if place == 0 else None,
            )
        if recipe.keep_original:
            config[self.stored[-1]] = models.VectorParams(
                size=recipe.dim,
                distance=recipe.distance,
                on_disk=True,
                hnsw_config=models.HnswConfigDiff(m=0),
            )
        return config

    def has_query(self, query: CheckedQuery) -> bool:
        """Whether the query has a vector of this name."""
        return self.name in query.dense

    def lacks_query(self) -> InvalidArgumentError:
        """The error for a query without a vector of this name."""
        return InvalidArgumentError(f"dense[{self.name!r}]", "a vector, or a text to make it from", None)

    def has_documents(self, documents: CheckedDocuments) -> bool:
        """Whether the documents have vectors of this name."""
        return self.name in documents.dense

    def take_documents(self, documents: CheckedDocuments, encoded: Encoded, spec: str) -> CheckedDocuments:
        """Documents with the encoder's vectors."""
        vectors = self.checked(encoded.dense, len(documents), spec)
        return replace(documents, dense={**documents.dense, self.name: vectors})

    def take_query(self, query: CheckedQuery, encoded: Encoded, row: int, spec: str) -> CheckedQuery:
        """A query with the encoder's vector."""
        vector = None if encoded.dense is None else encoded.dense[row : row + 1]
        return replace(query, dense={**query.dense, self.name: self.checked(vector, 1, spec)})

    def checked(self, vectors: Any, count: int, spec: str) -> Float32:
        """Vectors ``(count, dim)`` of the encoder ``spec``, checked."""
        if vectors is None:
            raise InvalidArgumentError(f"dense[{self.name!r}]", "a vector", f"none from encoder {spec!r}")
        recipe = self.recipe
        return check_dense(vectors, recipe.dim, count, f"dense of encoder {spec!r}", datatype_of_user(recipe))

    def count_numbers(self, documents: CheckedDocuments) -> int:
        """Numbers of the vector, its prefixes, its original and its codes."""
        recipe = self.recipe
        numbers = sum(recipe.funnel) + recipe.stored_dim + (recipe.dim if recipe.keep_original else 0)
        # Codes are text of five characters for four bytes, and four bytes count as one number.
        return numbers + math.ceil(recipe.code_bytes * 5 / 16)

    def encode(self, documents: CheckedDocuments) -> EncodedDocuments:
        """The vector as it is stored, its codes, and which model made it while two are in use."""
        payload = {} if self.version.previous is None else {MODEL: self.version.model}
        # A point that is copied may lack the vector, and is not found by it.
        vectors = documents.dense.get(self.name)
        if vectors is None:
            return EncodedDocuments(payload=payload)
        codes = {}
        if self.codes is not None:
            rows = self.codes.encode(self._of_unit_length(vectors))
            codes[DENSE_CODES] = [row.tobytes() for row in rows]
        return EncodedDocuments({**self.to_store(vectors, documents.user_ids)}, codes, payload)

    def check_storable(self, documents: CheckedDocuments) -> None:
        """Check float16 after transforms, which can make larger numbers than those that they are given."""
        vectors = documents.dense.get(self.name)
        halves = self.recipe.datatype == models.Datatype.FLOAT16
        cosine = self.recipe.stored_distance == models.Distance.COSINE
        if vectors is not None and halves and not cosine and self.transforms and self.fitted:
            self.to_store(vectors, documents.user_ids)

    def to_store(self, vectors: Float32, user_ids: Sequence[Id]) -> dict[str, Float32]:
        """Documents (n, dim) as they are stored, whose datatype holds them; an error names the document."""
        stored = self.as_stored(vectors)
        if self.recipe.stored_distance != models.Distance.COSINE:
            for name in self.stored[: len(self.recipe.funnel) + 1]:
                check_stored(stored[name], self.recipe.datatype, user_ids, name)
        return stored

    def as_stored(self, vectors: Float32) -> dict[str, Float32]:
        """Documents (n, dim) as they are stored, by name in Qdrant."""
        transformed = self._prepared(vectors)
        if self.recipe.signs and self.codes is not None:
            transformed = self.codes.signs(transformed)
        for transform in self.transforms:
            transformed = transform.transform(transformed)
        return self._by_name(vectors, transformed)

    def as_compared(self, vectors: Float32) -> dict[str, Float32]:
        """Queries (n, dim) as they are compared, by name in Qdrant."""
        transformed = self._prepared(vectors)
        if self.recipe.signs and self.codes is not None:
            transformed = self.codes.sign_queries(transformed)
        for transform in self.transforms:
            transformed = transform.transform_query(transformed)
        return self._by_name(vectors, transformed)

    def find(self, query: CheckedQuery, options: SearchOptions, *, final: bool) -> Stage | None:
        """The finest of what is stored, behind the coarser vectors that find its candidates."""
        if self.name not in query.dense:
            return None
        vector = query.dense[self.name]
        compared = self.as_compared(vector)
        # An exact search compares the vectors as the user passed them, where they are stored.
        by_codes = self._ranks_by_codes if options.exact else self.codes is not None
        final = final and not by_codes
        stage: Stage | None = None
        for place, (stored, row) in enumerate(compared.items()):
            storage = self.recipe if place == 0 else Storage()
            last = place == len(compared) - 1
            stage = Stage(
                stored,
                stored,
                nearest(row[0]),
                search_params(self.rerank, storage, options, final=final and last),
                # An exact search compares the finest vector of all documents.
                among=() if stage is None or options.exact else (stage,),
                # A coarser vector finds twice as many, of which this stage keeps the better half.
                widening=2,
                lower_is_better=self.recipe.distance in (models.Distance.EUCLID, models.Distance.MANHATTAN),
            )
        assert stage is not None
        if by_codes:
            return replace(stage, rerank=self._rerank(vector))
        previous = self.version.previous
        return stage if previous is None else self._of_two_models(stage, previous, vector, options)

    def compared(self) -> str:
        """The codes where they stand for the vectors, else the finest vector."""
        if self.version.previous is not None:
            expected = "one model: finish the upgrade, then documents can be compared"
            raise InvalidArgumentError(f"recipe.dense[{self.name!r}].previous", expected, "two")
        return DENSE_CODES if self._ranks_by_codes else self.stored[-1]

    def similarities(self, query: CheckedQuery, records: Sequence[models.Record]) -> tuple[Float32, Float32]:
        """Relevance and similarity by the recipe's distance."""
        vector, field = query.dense[self.name], self.compared()
        if field == DENSE_CODES:
            assert self.codes is not None
            strings = payload_codes(records, DENSE_CODES, self._layout.code_bytes)
            decoded = self.codes.decode(self._own_codes(strings))
            return dense_similarities(self._of_unit_length(vector)[0], decoded, self.recipe.distance)
        stored = [vector_of(record, field) for record in records]
        return dense_similarities(self.as_compared(vector)[field][0], stored, self.recipe.stored_distance)

    @property
    def _ranks_by_codes(self) -> bool:
        """Whether codes stand for vectors that are not stored as the user passed them."""
        return self.codes is not None and (self.recipe.signs or bool(self.transforms))

    def _rerank(self, vector: Float32) -> PayloadRerank:
        codes = self.codes
        assert codes is not None
        prepared = codes.encode_query(self._of_unit_length(vector)[0])

        def score(strings: Sequence[bytes]) -> Float32:
            return codes.score(prepared, self._own_codes(strings))

        return PayloadRerank(f"{self.name}_codes", DENSE_CODES, score, self._layout.code_bytes)

    def _own_codes(self, strings: Sequence[bytes]) -> Codes:
        """Codes (n, code_bytes) of this vector, from those of all dense vectors."""
        joined = ByteStrings.of(strings).joined()
        return joined.reshape(len(strings), self._layout.code_bytes)[:, self._layout.part(self.name)]

    def _of_two_models(
        self, stage: Stage, previous: PreviousModel, vector: Float32, options: SearchOptions
    ) -> Stage:
        """Search the vectors of the new model, and by way of the adapter those of the previous one."""
        recipe, version, adapter = self.recipe, self.version, self._adapter
        assert adapter is not None
        query = unit_rows(vector) if recipe.distance == models.Distance.COSINE else vector
        adapted = adapter.transform(query)
        # A cosine does not tell how long the query is.
        length = np.linalg.norm(adapted) if recipe.stored_distance == models.Distance.COSINE else 1.0
        is_new = model_condition(version.model)
        old = Stage(
            f"{self.name}_v{version.model - 1}",
            previous.stored_as,
            nearest(adapted[0]),
            search_params(self.rerank, recipe, options, final=True),
            filter=models.Filter(must_not=[is_new]),
        )
        offset = previous.offset + previous.factor * float(adapter.missing(query)[0])
        return replace(
            stage,
            name=self.name,
            filter=models.Filter(must=[is_new]),
            previous=PreviousModelStage(old, previous.factor * float(length), offset),
        )

    def _of_unit_length(self, vectors: Float32) -> Float32:
        """Vectors as codes and transforms compare them: of length 1 for the cosine."""
        return unit_rows(vectors) if self.recipe.distance == models.Distance.COSINE else vectors

    def _prepared(self, vectors: Float32) -> Float32:
        # Transforms and codes keep dot products, and those of unit vectors are cosines.
        return self._of_unit_length(vectors) if self.transforms or self.codes else vectors

    def _by_name(self, vectors: Float32, transformed: Float32) -> dict[str, Float32]:
        parts = [np.ascontiguousarray(transformed[:, :dim]) for dim in self.recipe.funnel]
        parts.append(transformed)
        if self.recipe.keep_original:
            parts.append(vectors)
        return dict(zip(self.stored, parts, strict=True))


def dense_branches(
    recipes: Mapping[str, Dense], rerank: Rerank, versions: Mapping[str, VectorVersion]
) -> list[DenseBranch]:
    """The dense branches of a recipe, which share one payload field for their codes."""
    layout = CodesLayout()
    return [DenseBranch(name, dense, rerank, versions.get(name), layout) for name, dense in recipes.items()]


def dense_key(name: str) -> str:
    """Key under which the state of a dense vector is kept."""
    return f"dense[{name!r}]"


def adapter_key(name: str) -> str:
    """Key under which the state of a dense vector's adapter is kept."""
    return f"adapter[{name!r}]"


def model_condition(version: int) -> models.FieldCondition:
    """Matches documents whose vector is of this version of the model, or a later one."""
    return models.FieldCondition(key=MODEL, range=models.Range(gte=version))
