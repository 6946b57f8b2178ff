from __future__ import annotations

import asyncio
from contextlib import closing

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from embplug import Dense, Multivector, Recipe, Storage, Tokens
from embplug.engines import AsyncEdgeClient, connect
from embplug.engines.calls import run, run_async
from embplug.engines.capabilities import MAX_REST_BYTES, Capabilities, capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import CapabilityError
from embplug.methods import FDE

OLD, NEW = Capabilities.of("server", "1.16.3"), Capabilities.of("server", "1.20.0")
EDGE, MEMORY = Capabilities.of("edge", "0.9.0"), Capabilities.of("memory", "1.20.0")

TURBO = models.TurboQuantization(
    turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4)
)
INT8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
COLD = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8", memory="cold"))
TWO_BITS = models.BinaryQuantization(
    binary=models.BinaryQuantizationConfig(encoding=models.BinaryQuantizationEncoding.TWO_BITS)
)
ASYMMETRIC = models.BinaryQuantization(
    binary=models.BinaryQuantizationConfig(query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR8BITS)
)


def test_every_engine_tells_what_it_is(engine, engine_name):
    found = run(engine, capabilities_steps(engine))
    assert found == Capabilities.of(found.kind, engine.info().version, over_grpc=True)
    assert found.kind == engine_name
    assert found.sharding == (engine_name == "server")
    assert found.quantization == (engine_name != "memory")


def test_asynchronous_engines_tell_the_same(server_client, edge_client, qdrant_address):
    async def ask() -> list[Capabilities]:
        url, grpc_port = qdrant_address
        server = AsyncQdrantClient(url, grpc_port=grpc_port, prefer_grpc=True, check_compatibility=False)
        engines = [server, AsyncEdgeClient(edge_client), AsyncQdrantClient(":memory:")]
        try:
            return [await run_async(engine, capabilities_steps(engine)) for engine in engines]
        finally:
            await server.close()

    memory = connect(":memory:")
    expected = [run(engine, capabilities_steps(engine)) for engine in (server_client, edge_client, memory)]
    assert asyncio.run(ask()) == expected


def test_a_local_client_with_a_path_is_the_simulation(tmp_path):
    with closing(QdrantClient(path=str(tmp_path))) as client:
        assert run(client, capabilities_steps(client)).kind == "memory"


def test_requests_are_limited_over_rest_alone(qdrant_address):
    with closing(QdrantClient(qdrant_address[0], check_compatibility=False)) as rest:
        found = run(rest, capabilities_steps(rest))
        assert found.max_request_bytes == MAX_REST_BYTES
        rest.create_collection("large", {"d": models.VectorParams(size=1, distance=models.Distance.DOT)})
        try:
            large = models.PointStruct(id=1, vector={}, payload={"text": "x" * (MAX_REST_BYTES - 10_000)})
            rest.upsert("large", [large], wait=True)
            large.payload["text"] += "x" * 10_000
            with pytest.raises(Exception, match="larger than allowed"):
                rest.upsert("large", [large], wait=True)
        finally:
            rest.delete_collection("large")
    assert OLD.max_request_bytes == MAX_REST_BYTES
    assert Capabilities.of("server", "1.16.3", over_grpc=True).max_request_bytes is None
    assert EDGE.max_request_bytes is None


def test_the_largest_token_matrix(engine):
    limit = run(engine, capabilities_steps(engine)).max_multivector_floats
    params = models.VectorParams(
        size=1023,
        distance=models.Distance.DOT,
        hnsw_config=models.HnswConfigDiff(m=0),
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    )
    if limit is None:
        return
    assert limit == 1023 * 1025
    engine.create_collection("large", {"t": params})
    rows = [[1.0] * 1023] * 1025
    engine.upsert(
        "large", [models.PointStruct.model_construct(id=1, vector={"t": rows}, payload={})], wait=True
    )
    with pytest.raises(Exception, match="Total size of all vectors"):
        engine.upsert(
            "large", [models.PointStruct.model_construct(id=2, vector={"t": [*rows, rows[0]]}, payload={})]
        )


def test_turbo_quantization_is_there_or_refused_as_said(engine):
    found = run(engine, capabilities_steps(engine))
    params = {"d": models.VectorParams(size=8, distance=models.Distance.DOT, quantization_config=TURBO)}
    if found.kind == "server" and not found.turbo_quantization:
        with pytest.raises(Exception, match="quantization"):
            engine.create_collection("turbo", params)
        return
    engine.create_collection("turbo", params)
    kept = engine.get_collection("turbo").config.params.vectors["d"].quantization_config
    assert (kept == TURBO) or not found.turbo_quantization


def test_an_older_server_drops_the_memory_placement_without_a_word(server_client):
    found = run(server_client, capabilities_steps(server_client))
    hnsw = models.HnswConfigDiff(m=8, memory=models.Memory.COLD)
    params = {"d": models.VectorParams(size=8, distance=models.Distance.DOT, hnsw_config=hnsw)}
    server_client.create_collection("cold", params)
    kept = server_client.get_collection("cold").config.params.vectors["d"].hnsw_config
    assert (kept.memory is not None) == found.memory_placement


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("1.15.5", set()),
        ("1.16.0", {"collection_metadata", "rrf_k"}),
        ("1.17.0", {"rrf_weights", "index_enable_hnsw", "update_timeout"}),
        ("v1.18.0-dev", {"turbo_quantization", "add_vectors", "added_vector_storage"}),
        (
            "1.19.2",
            {"memory_placement", "slice_condition", "match_prefix", "index_prefix", "turbo4_datatype"},
        ),
        ("1.20.0", {"match_substring", "index_scoring", "index_nested", "turbo8_datatype"}),
        ("2.0.0", set()),
        ("unknown", set()),
    ],
)
def test_capabilities_grow_with_the_version(version, has):
    versions = ["1.15.5", "1.16.0", "1.17.0", "v1.18.0-dev", "1.19.2", "1.20.0", "2.0.0", "unknown"]
    found = Capabilities.of("server", version)
    before = Capabilities.of("server", versions[max(0, versions.index(version) - 1)])
    names = [name for name in vars(found) if isinstance(getattr(found, name), bool)]
    assert {name for name in names if getattr(found, name) and not getattr(before, name)} == has
    assert all(getattr(found, name) for name in names if getattr(before, name))


def test_the_default_recipes_are_served_by_all(engine):
    found = run(engine, capabilities_steps(engine))
    check_recipe(Recipe(tokens=Tokens(dim=8, codes=None)), found)
    check_recipe(Recipe(dense=Dense(dim=8), payload_indexes={"a": "keyword"}, shard_number=1), found)


def tokens(**storage: object) -> Recipe:
    return Recipe(tokens=Tokens(dim=8, encoding=FDE(), encoding_storage=Storage(**storage), codes=None))


@pytest.mark.parametrize(
    ("recipe", "field", "refused_by", "served_by"),
    [
        (Recipe(dense=Dense(dim=8), shard_number=2), "shard_number", [EDGE, MEMORY], [OLD]),
        (Recipe(dense=Dense(dim=8), replication_factor=2), "replication_factor", [EDGE, MEMORY], [OLD]),
        (
            Recipe(dense=Dense(dim=8), write_consistency_factor=2),
            "write_consistency_factor",
            [EDGE, MEMORY],
            [OLD],
        ),
        (
            Recipe(dense={"a": Dense(dim=8), "b": Dense(dim=8, quantization=TURBO)}),
            "dense.b.quantization.turbo",
            [OLD],
            [NEW, EDGE],
        ),
        (Recipe(dense=Dense(dim=8, quantization=INT8)), "dense.dense.quantization", [MEMORY], [OLD, EDGE]),
        (tokens(quantization=TURBO), "tokens.encoding_storage.quantization.turbo", [OLD], [NEW, EDGE]),
        (
            Recipe(tokens=Tokens(dim=8, multivector=Multivector(quantization=TURBO), codes=None)),
            "tokens.multivector.quantization.turbo",
            [OLD],
            [NEW, EDGE],
        ),
        (
            tokens(quantization=TWO_BITS),
            "tokens.encoding_storage.quantization.binary.encoding",
            [],
            [OLD, NEW, EDGE],
        ),
        (Recipe(dense=Dense(dim=8, datatype="turbo4")), "dense.dense.datatype", [OLD, MEMORY], [NEW, EDGE]),
        (
            Recipe(tokens=Tokens(dim=8, multivector=Multivector(datatype="turbo16"), codes=None)),
            "tokens.multivector.datatype",
            [OLD, MEMORY],
            [NEW, EDGE],
        ),
        (tokens(quantization=ASYMMETRIC), "", [], [OLD, NEW, EDGE]),
        (tokens(quantization=COLD), "tokens.encoding_storage.quantization.scalar.memory", [OLD], [NEW, EDGE]),
        (
            tokens(hnsw=models.HnswConfigDiff(memory="cached")),
            "tokens.encoding_storage.hnsw.memory",
            [OLD],
            [NEW, EDGE, MEMORY],
        ),
        (
            Recipe(
                dense=Dense(dim=8),
                payload_indexes={"a": models.KeywordIndexParams(type="keyword", prefix=True)},
            ),
            "payload_indexes.a.prefix",
            [OLD],
            [NEW, EDGE, MEMORY],
        ),
        (
            Recipe(
                dense=Dense(dim=8),
                payload_indexes={"a": models.FloatIndexParams(type="float", enable_hnsw=False)},
            ),
            "payload_indexes.a.enable_hnsw",
            [OLD],
            [NEW, EDGE],
        ),
        (
            Recipe(dense=Dense(dim=8)),
            "recipe",
            [Capabilities.of("server", "1.15.5")],
            [OLD, NEW, EDGE, MEMORY],
        ),
    ],
)
def test_a_recipe_is_refused_by_the_field_and_with_who_could(recipe, field, refused_by, served_by):
    for capabilities in served_by:
        check_recipe(recipe, capabilities)
    for capabilities in refused_by:
        with pytest.raises(CapabilityError) as raised:
            check_recipe(recipe, capabilities)
        message = str(raised.value)
        assert message.startswith(f"{field}: {capabilities} does not have ")
        assert "Qdrant" in message.split("it needs")[1]


def test_the_message_names_engine_and_remedy():
    with pytest.raises(CapabilityError) as raised:
        check_recipe(tokens(quantization=TURBO), OLD)
    assert str(raised.value) == (
        "tokens.encoding_storage.quantization.turbo: Qdrant server 1.16.3 does not have TurboQuant; "
        "it needs a Qdrant server of version 1.18 or later or Qdrant Edge"
    )
    with pytest.raises(
        CapabilityError,
        match=r"^dense.*: ':memory:' of .* does not have quantization; .* a Qdrant server or Qdrant Edge$",
    ):
        check_recipe(Recipe(dense=Dense(dim=8, quantization=INT8)), MEMORY)
