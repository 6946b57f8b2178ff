"""Images in place of vectors: added, searched, refused, on every engine."""

from __future__ import annotations

import asyncio
from io import BytesIO

import numpy as np
import pytest
from qdrant_client.models import Mmr

from embplug import (
    AsyncCollection,
    Collection,
    Dense,
    Documents,
    Encoded,
    Multivector,
    Query,
    Recipe,
    Sample,
    Sparse,
    TokenBatch,
    Tokens,
    migrate,
)
from embplug.common.ids import GRID
from embplug.encoders import EncodedImages
from embplug.engines import Engine
from embplug.errors import ImageError, InvalidArgumentError, LengthMismatchError, RecipeError
from embplug.methods import (
    FDE,
    BitAllocationQuantizer,
    GridPooling,
    HierarchicalPooling,
    ResidualQuantizer,
    SaliencyPruning,
)
from embplug.pages import PageImage, read_pages
from tests.images import COLOURS, DIM, PATCH, PROMPT, ColourEncoder, ImagesAlone, picture, write_pdf

SMALL = FDE(repetitions=8, simhash_bits=2, projection_dim=8)


def recipe(**tokens) -> Recipe:
    settings = {"encoding": SMALL, "multivector": Multivector(), "codes": None, **tokens}
    return Recipe(tokens=Tokens(dim=DIM, **settings))


def create(engine: Engine, encoder=None, **tokens) -> Collection:
    return Collection.create("pages", recipe(**tokens), engine, encoder=encoder or ColourEncoder())


def stored(collection: Collection, id_: int = 0) -> np.ndarray:
    """Token matrix of a document as it is stored."""
    hit = next(
        hit for hit in collection.search(text="red", limit=99, exact=True, with_vectors=True) if hit.id == id_
    )
    return np.asarray(hit.vector["tokens"])


def grid_of(collection: Collection, id_: int) -> list[int] | None:
    records, _ = collection.engine.scroll(collection.name, limit=99, with_payload=True)
    payloads = {record.id: record.payload for record in records}
    return payloads[id_].get(GRID)


def test_text_and_image_find_the_image(engine, tmp_path):
    path = tmp_path / "green.png"
    picture("green", (96, 64)).save(path)
    file = BytesIO()
    picture("blue", (48, 80)).save(file, "PNG")
    collection = create(engine)
    payloads = [{"colour": colour} for colour in ("red", "green", "blue")]
    report = collection.add([0, 1, 2], images=[picture("red"), path, file.getvalue()], payloads=payloads)
    assert report.added == 3
    for i, colour in enumerate(("red", "green", "blue")):
        assert collection.search(text=colour, limit=1)[0].id == i
        crop = picture(colour, (32, 32), (0, 0))
        hit = collection.search(image=crop.resize((40, 40)), limit=1)[0]
        assert (hit.id, hit.payload) == (i, {"colour": colour})
    hits = collection.batch_search(
        [Query(image=path), Query(text="blue"), Query(image=picture("red"))], limit=1
    )
    assert [own[0].id for own in hits] == [1, 2, 0]


def test_the_grid_of_each_image_is_kept_but_not_shown(engine):
    collection = create(engine)
    collection.add([0, 1], images=[picture("red", (64, 48)), picture("blue", (32, 96), (0, 0))])
    assert [grid_of(collection, i) for i in (0, 1)] == [[3, 4, PROMPT], [6, 2, PROMPT]]
    tokens = ColourEncoder().encode_images([picture("red")]).tokens
    collection.add([2], tokens=tokens, grids=[(0, 0, PROMPT)])
    assert grid_of(collection, 2) is None
    assert collection.search(text="red", limit=1)[0].payload is None
    assert collection.retrieve([0])[0].payload in (None, {})


def test_rows_of_images_of_any_shape_are_pooled(engine):
    collection = create(engine, reduction=GridPooling())
    collection.add([0, 1], images=[picture("red", (64, 48)), picture("blue", (32, 96), (0, 0))])
    assert stored(collection, 0).shape == (PROMPT + 3, DIM)
    assert stored(collection, 1).shape == (PROMPT + 6, DIM)
    encoded = ColourEncoder().encode_images([picture("red", (64, 48))]).tokens[0][PROMPT:]
    row = encoded[4:8].mean(axis=0)
    # float16 keeps three digits.
    np.testing.assert_allclose(stored(collection, 0)[PROMPT + 1], row / np.linalg.norm(row), atol=2e-3)
    assert collection.search(text="blue", limit=1)[0].id == 1


def test_attention_prunes_patches_before_they_are_pooled(engine):
    reduction = [SaliencyPruning(keep=0.5), GridPooling()]
    collection = create(engine, reduction=reduction)
    collection.add([0], images=[picture("red", (64, 48), (16, 16))])
    # Seven of 14 tokens stay: the prompt, the four red patches of two rows, and one that is white.
    tokens = stored(collection)
    assert tokens.shape == (PROMPT + 3, DIM)
    red = ColourEncoder().encode_queries(["red"]).tokens[0][0]
    np.testing.assert_allclose(tokens[-2:] @ red, 1, atol=2e-3)


def test_codes_learn_from_images_and_lose_none(engine):
    collection = create(engine, multivector=None, codes=ResidualQuantizer(bits=4), reduction=GridPooling())
    colours = [[*COLOURS][i % 4] for i in range(40)]
    with pytest.warns(UserWarning, match="learned from few"):
        report = collection.add([*range(40)], images=[picture(colour) for colour in colours])
    assert report.added == collection.count() == 40
    for i, colour in enumerate(COLOURS):
        assert {hit.id % 4 for hit in collection.search(text=colour, limit=5)} == {i}


def test_images_are_encoded_a_few_at_a_time(edge_client):
    encoder = ColourEncoder()
    collection = create(edge_client, encoder)
    collection.add([*range(20)], images=[picture("red")] * 20)
    assert [len(sizes) for sizes in encoder.sizes] == [8, 8, 4]


def test_pages_are_decoded_when_they_are_encoded(edge_client, tmp_path, monkeypatch):
    """Not more than one batch of an encoder is in memory at a time."""
    path = write_pdf(tmp_path / "many.pdf", [f"Page {i}" for i in range(20)])
    alive, most = 0, 0
    load = PageImage.load

    def counted(self):
        nonlocal alive, most
        image = load(self)
        alive += 1
        most = max(most, alive)
        import weakref

        weakref.finalize(image, gone)
        return image

    def gone():
        nonlocal alive
        alive -= 1

    monkeypatch.setattr(PageImage, "load", counted)
    pages = [*read_pages(path, dpi=72)]
    collection = create(edge_client)
    collection.add([page.id for page in pages], images=[page.image for page in pages])
    assert collection.count() == 20 and 8 <= most <= 9


def test_pages_of_a_pdf_are_added_with_their_texts(engine, tmp_path):
    path = write_pdf(tmp_path / "fruit.pdf", ["Apples", "Pears"])
    picture("red").save(tmp_path / "scan.png")
    pages = [*read_pages([path, tmp_path / "scan.png"], with_text=True)]
    hybrid = Recipe(tokens=recipe().tokens, sparse=Sparse())
    collection = Collection.create("pages", hybrid, engine, encoder=ColourEncoder())
    collection.add(
        [page.id for page in pages],
        images=[page.image for page in pages],
        texts=[page.text for page in pages],
        payloads=[page.payload for page in pages],
    )
    hit = collection.search(text="pears", branches=["sparse"], limit=1)[0]
    assert hit.id == f"{path.as_posix()}#2"
    assert hit.payload == {"file": path.as_posix(), "page": 2, "text": "Pears"}
    found = collection.search(image=picture("red"), text="apples", limit=3)
    assert {hit.id for hit in found[:2]} == {
        f"{path.as_posix()}#1",
        f"{(tmp_path / 'scan.png').as_posix()}#1",
    }
    assert "text" not in collection.retrieve([pages[2].id])[0].payload


def test_blank_pages_are_refused_left_out_or_stored_without_vectors(engine):
    collection = create(engine)
    blank = picture("red").crop((0, 0, 8, 8))
    images = [picture("red"), blank, picture("blue")]
    with pytest.raises(ImageError, match=r"images\[1\]: expected an image that is not blank, .* \(id 11\)"):
        collection.add([10, 11, 12], images=images)
    assert collection.count() == 0
    report = collection.add([10, 11, 12], images=images, on_empty="skip")
    assert (report.added, report.skipped) == (2, [11])
    report = collection.add([11], images=[blank], payloads=[{"page": 2}], on_empty="store")
    assert report.without_vectors == [11]
    assert {hit.id for hit in collection.search(text="red", limit=9)} == {10, 12}
    assert collection.count() == 3


BAD = [
    (b"words", "images\\[2\\]: expected an image that Pillow reads, got a file of another kind"),
    (7, "images\\[2\\]: expected a PIL image, the path or the bytes"),
    (PageImage(picture("red"), max_pixels=9), "images\\[2\\]: expected at most 9 pixels"),
    ("none.png", "images\\[2\\]: expected a file that can be read, got No such file"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=["text", "number", "large", "missing"])
@pytest.mark.parametrize("on_empty", ["raise", "skip"])
def test_nothing_is_written_if_an_image_is_wrong(edge_client, bad, message, on_empty):
    collection = create(edge_client)
    images = [picture("red"), picture("red"), bad]
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        collection.add([*"abc"], images=images, on_empty=on_empty)
    assert "(id 'c')" in str(caught.value)
    assert collection.count() == 0
    batch = Documents(["x"], images=images[:1])
    with pytest.raises(InvalidArgumentError, match=r" in batches\[1\]"):
        collection.add_batches([batch, Documents([*"abc"], images=images)], on_empty=on_empty)
    assert collection.count() in (0, 1)


def test_images_need_an_encoder_of_images(edge_client):
    class Texts(ColourEncoder):
        spec = "texts"
        encode_images = None

    collection = create(edge_client, Texts())
    with pytest.raises(InvalidArgumentError, match="encoder: expected one that encodes images, got 'texts'"):
        collection.add([0], images=[picture("red")])
    with pytest.raises(InvalidArgumentError, match="encoder: expected one that encodes images, got 'texts'"):
        collection.search(image=picture("red"))
    nobody = Collection.open("pages", edge_client)
    with pytest.raises(InvalidArgumentError, match="tokens: expected vectors, or an encoder for images"):
        nobody.add([0], images=[picture("red")])


def test_an_encoder_of_images_alone_is_enough_for_images(edge_client):
    collection = Collection.create("pages", None, edge_client, encoder=ImagesAlone())
    assert collection.recipe.tokens.dim == DIM
    collection.add([0, 1], images=[picture("red"), picture("blue")])
    assert collection.search(image=picture("blue", (32, 32), (0, 0)), limit=1)[0].id == 1
    with pytest.raises(InvalidArgumentError, match="encoder: expected one that encodes texts"):
        collection.search(text="blue")
    with pytest.raises(InvalidArgumentError, match="encoder: expected one that encodes texts"):
        collection.add([2], texts=["blue"])


def test_images_that_no_vector_is_made_of_are_refused(edge_client):
    collection = create(edge_client)
    tokens = ColourEncoder().encode_images([picture("red")]).tokens
    with pytest.raises(InvalidArgumentError, match="images: expected none, because no vector is missing"):
        collection.add([0], tokens=tokens, images=[picture("red")])
    with pytest.raises(LengthMismatchError, match="images: expected 2 images, one for each document, got 1"):
        collection.add([0, 1], images=[picture("red")])
    with pytest.raises(ImageError, match=r"^image: expected an image that Pillow reads"):
        collection.search(image=b"words")
    with pytest.raises(InvalidArgumentError, match="text or image, got none of them"):
        collection.search()


def test_grids_of_tokens_are_told_by_the_user(engine):
    encoded = ColourEncoder().encode_images([picture("red", (64, 48)), picture("blue", (32, 96), (0, 0))])
    collection = create(engine, reduction=GridPooling(tile_rows=None, tile_columns=1))
    with pytest.raises(InvalidArgumentError, match="grids: expected rows and columns of the patches"):
        collection.add([0, 1], tokens=encoded.tokens)
    collection.add([0, 1], tokens=encoded.tokens, grids=[(3, 4, PROMPT), (6, 2, PROMPT)])
    assert stored(collection, 0).shape == (PROMPT + 4, DIM)
    assert stored(collection, 1).shape == (PROMPT + 2, DIM)
    assert grid_of(collection, 1) == [6, 2, PROMPT]
    collection.add([2], tokens=encoded.tokens[:1], grids=[None])
    assert stored(collection, 2).shape == encoded.tokens[0].shape and grid_of(collection, 2) is None
    with pytest.raises(
        LengthMismatchError,
        match=r"grids\[1\]: expected at most the 14 tokens of the document, got 9 \+ 3 x 4 \(id 'b'\)",
    ):
        collection.add(["a", "b"], tokens=[encoded.tokens[0]] * 2, grids=[(3, 4), (3, 4, 9)])
    with pytest.raises(InvalidArgumentError, match="grids: expected tokens, which lie on the grids"):
        collection.add([0], images=[picture("red")], grids=[(3, 4)])


def test_methods_learn_from_pooled_patches_of_a_sample(edge_client):
    encoded = ColourEncoder().encode_images([picture(colour) for colour in COLOURS] * 4)
    whole = recipe(multivector=None, codes=ResidualQuantizer(bits=4), reduction=GridPooling())
    with pytest.raises(InvalidArgumentError, match=r"sample.grids: expected rows and columns"):
        Collection.create("pages", whole, edge_client, sample=Sample(tokens=encoded.tokens))
    sample = Sample(tokens=encoded.tokens, grids=encoded.grids)
    with pytest.warns(UserWarning, match="learned from few documents.* from 80 of at least"):
        collection = Collection.create("pages", whole, edge_client, sample=sample, encoder=ColourEncoder())
    collection.add([0], images=[picture("red")])
    assert collection.search(text="red")[0].id == 0


def test_an_encoder_that_tells_no_grid_is_refused_where_it_is_needed(edge_client):
    class NoGrid(ColourEncoder):
        spec = "no-grid"

        def encode_images(self, images):
            encoded = super().encode_images(images)
            return type(encoded)(encoded.tokens, saliency=encoded.saliency)

    collection = create(edge_client, NoGrid(), reduction=GridPooling())
    with pytest.raises(InvalidArgumentError, match="encoder: expected one that tells the grids of patches"):
        collection.add([0], images=[picture("red")])
    fixed = Collection.create(
        "fixed", recipe(reduction=GridPooling(rows=2, columns=7)), edge_client, encoder=NoGrid()
    )
    fixed.add([0], images=[picture("red")])
    assert stored(fixed).shape == (2, DIM)


def test_pooling_by_places_comes_before_other_pooling():
    reduction = [HierarchicalPooling(), GridPooling()]
    with pytest.raises(RecipeError, match=r"reduction.1: expected pooling by places on images before"):
        recipe(reduction=reduction)
    recipe(reduction=reduction[::-1])


def test_queries_by_image_are_pruned_by_the_attention_of_their_patches(engine):
    collection = create(engine, query_reduction=SaliencyPruning(keep=6 / 14))
    collection.add([0, 1], images=[picture("red"), picture("blue")])
    hit = collection.search(image=picture("blue"), limit=1)[0]
    # The prompt and the four blue patches are left of the 14 tokens of the query.
    assert hit.id == 1 and hit.score == pytest.approx(6, abs=0.01)


def test_the_asynchronous_collection_takes_images(edge_client):
    async def scenario() -> None:
        collection = create(edge_client, reduction=GridPooling()).to_async()
        assert isinstance(collection, AsyncCollection)
        await collection.add([0, 1], images=[picture("red"), picture("blue")])
        hits = await collection.search(image=picture("blue", (32, 32), (0, 0)), limit=1)
        assert hits[0].id == 1
        tokens = TokenBatch.from_list([np.ones((4, DIM))])
        await collection.add([2], tokens=tokens, grids=[(2, 2)])
        assert await collection.count() == 3

    asyncio.run(scenario())


def test_groups_are_searched_by_image(edge_client):
    collection = create(edge_client)
    colours = ["red", "red", "blue"]
    collection.add([0, 1, 2], images=[picture(c) for c in colours], payloads=[{"file": c} for c in colours])
    groups = collection.search_groups("file", image=picture("blue", (PATCH, PATCH), (0, 0)), limit=1)
    assert groups[0].id == "blue"


def test_a_migration_keeps_the_grids_and_pools_by_them(engine):
    collection = create(engine)
    images = [picture("red", (64, 48)), picture("blue", (32, 96), (0, 0)), picture("gold")]
    collection.add([0, 1, 2], images=images)
    learning = ResidualQuantizer(bits=4)
    pooled = recipe(reduction=GridPooling(), multivector=Multivector(), codes=learning)
    with pytest.warns(UserWarning, match="learned from few"):
        migrate(collection, "pooled", pooled)
    target = Collection.open("pooled", engine, encoder=ColourEncoder())
    assert [stored(target, i).shape for i in (0, 1)] == [(PROMPT + 3, DIM), (PROMPT + 6, DIM)]
    assert [grid_of(target, i) for i in (0, 1)] == [[3, 4, PROMPT], [6, 2, PROMPT]]
    assert target.search(text="blue", limit=1)[0].id == 1


class Means(ColourEncoder):
    """The same encoder with the mean of the tokens as dense vector."""

    def encode_images(self, images):
        encoded = super().encode_images(images)
        return EncodedImages(encoded.tokens, _means(encoded.tokens), grids=encoded.grids)

    def encode_queries(self, texts):
        encoded = super().encode_queries(texts)
        return Encoded(encoded.tokens, _means(encoded.tokens))

    encode_documents = encode_queries


def _means(tokens):
    return np.stack([tokens[row].mean(axis=0) for row in range(len(tokens))])


def test_hits_of_an_encoder_of_images_alone_are_explained_without_texts(edge_client):
    whole = recipe(multivector=None, codes=BitAllocationQuantizer()).replaced(sparse=Sparse())
    collection = Collection.create("pages", whole, edge_client, encoder=ImagesAlone())
    colours = ["red", "blue"] * 20
    collection.add(range(40), images=[picture(colour) for colour in colours], texts=colours)
    edge_client.delete_payload("pages", [GRID], points=list(range(40)))
    blue = picture("blue", (32, 32), (0, 0))
    (hit,) = collection.search(image=blue, limit=1, explain=True)
    alone = collection.explain(hit.id, image=blue)
    for explanation in (hit.explanation, alone):
        assert "expected one that encodes texts" in explanation.document.reason
    np.testing.assert_allclose(alone.scores, hit.explanation.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"explain": True}, {"mmr": Mmr(diversity=0.0)}, {"group_by": "file"}])
@pytest.mark.parametrize("source", ["image", "text"])
def test_every_kind_of_search_makes_the_vector_of_each_named_branch(edge_client, options, source):
    encoder = Means()
    whole = recipe().replaced(dense=Dense(dim=DIM))
    collection = Collection.create("pages", whole, edge_client, encoder=encoder)
    colours = ["red", "blue", "green"]
    collection.add([0, 1, 2], images=[picture(c) for c in colours], payloads=[{"file": c} for c in colours])
    query = {"image": picture("blue", (32, 32), (0, 0)), "text": "blue"}[source]
    search = collection.search_groups if "group_by" in options else collection.search
    tokens = encoder.encode_queries(["blue"]).tokens.values
    found = search(tokens=tokens, **{source: query}, branches=["tokens", "dense"], limit=1, **options)
    assert found[0].id == ("blue" if "group_by" in options else 1)
