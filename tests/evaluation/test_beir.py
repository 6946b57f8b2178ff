"""Collections in BEIR format."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from embplug import Encoded
from embplug.branches.sparse_vectors import check_sparse
from embplug.errors import InvalidArgumentError
from embplug.evaluation.beir import BATCH_TEXTS, encode_texts, read_beir
from tests.collection.test_learned_sparse import Both, SparseWords
from tests.words import Words, write_beir


def test_only_judged_queries_are_kept_and_titles_are_joined(tmp_path):
    beir = read_beir(write_beir(tmp_path / "small", documents=5, queries=2))
    assert (beir.name, beir.document_ids[-1], beir.documents[-1]) == ("small", "empty", "")
    assert beir.documents[1].startswith("w1a w1b w1c ")
    assert (beir.query_ids, beir.qrels) == (["q0", "q1"], {"q0": {"d0": 1}, "q1": {"d1": 1}})


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "b"}\n', "corpus.jsonl, line 2"),
        ("corpus.jsonl", "no json\n", "corpus.jsonl, line 1"),
        ("queries.jsonl", "[]\n", "queries.jsonl, line 1"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0 d0 1\n", "test.tsv, line 2"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "documents and judged queries"),
        ("corpus.jsonl", None, "corpus.jsonl: No such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, file, text, said):
    folder = write_beir(tmp_path / "small", documents=3, queries=1)
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    with pytest.raises(InvalidArgumentError, match=said):
        read_beir(folder)


def test_texts_in_the_cache_are_not_encoded_again(tmp_path):
    encoder, texts = Words(), ["b c a", "", "a b"]
    first = encode_texts(encoder, "documents", texts, name="n", cache=tmp_path)
    again = encode_texts(encoder, "documents", texts, name="n", cache=tmp_path)
    uncached = encode_texts(Words(), "documents", texts, name="n")
    assert encoder.encoded == 3
    assert [first.tokens.lengths.tolist(), first.saliency] == [[3, 0, 2], None]
    for encoded in (again, uncached):
        assert (encoded.tokens.values == first.tokens.values).all() and (encoded.dense == first.dense).all()
    encode_texts(encoder, "documents", ["changed", *texts[1:]], name="n", cache=tmp_path)
    assert encoder.encoded == 6


def with_qrels(folder, *lines, documents=3, queries=2):
    write_beir(folder, documents=documents, queries=queries)
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_judgements_without_a_header_keep_their_first_line(tmp_path):
    beir = read_beir(with_qrels(tmp_path / "small", "q0\td0\t1", "q1\td1\t2"))
    assert beir.qrels == {"q0": {"d0": 1}, "q1": {"d1": 2}}


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path):
    beir = read_beir(with_qrels(tmp_path / "small", "\ufeffq0\td0\t1"))
    assert beir.qrels == {"q0": {"d0": 1}}


def test_quotation_marks_do_not_merge_lines(tmp_path):
    lines = ('"q0\td0\t1', 'q1\td"1\t1', 'q0"\td0\t1', "q0\td0\t1")
    beir = read_beir(with_qrels(tmp_path / "small", "query-id\tcorpus-id\tscore", *lines))
    assert beir.qrels == {'"q0': {"d0": 1}, "q1": {'d"1': 1}, 'q0"': {"d0": 1}, "q0": {"d0": 1}}


def test_judgements_of_what_is_not_there_are_said(tmp_path, caplog):
    read_beir(with_qrels(tmp_path / "small", "q0\td0\t1", "q0\tgone\t1", "nobody\td0\t1"))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "1 judgements are of documents that are not in corpus.jsonl, such as 'gone'",
        "1 judged queries are not in queries.jsonl and are left out, such as 'nobody'",
    ]
    caplog.clear()
    read_beir(write_beir(tmp_path / "complete", documents=3, queries=2))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("corpus.jsonl", b'{"_id": "a", "text": "Gr\xfc\xdfe"}'),
        ("corpus.jsonl", b'{"_id": "a", "text": "\\ud800"}'),
        ("queries.jsonl", b'{"_id": "a", "text": "b", "metadata": ' + b"[" * 99_999),
        ("queries.jsonl", b'{"_id": ' + b"9" * 5000),
        ("qrels/test.tsv", b"q0\td0\t1.5"),
        ("qrels/test.tsv", b"q0\td0\t" + b"9" * 5000),
        ("qrels/test.tsv", b"q\xfc\td0\t1"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, file, data):
    folder = write_beir(tmp_path / "small", documents=3, queries=1)
    (folder / file).write_bytes(data)
    with pytest.raises(InvalidArgumentError) as raised:
        read_beir(folder)
    assert f"{file.removeprefix('qrels/')}, line 1" in raised.value.argument


class Everything(Both):
    """Tokens with ids and spans, dense vectors and weights."""

    spec = "everything"

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        words = [match for text in texts for match in re.finditer(r"\S+", text)]
        ids = np.array([zlib.crc32(word[0].encode()) for word in words], np.int64)
        spans = np.array([word.span() for word in words], np.int32).reshape(-1, 2)
        lengths = (spans[:, 1] - spans[:, 0]).astype(np.float32)
        return replace(super().encode_documents(texts), saliency=lengths, token_ids=ids, spans=spans)

    encode_queries = encode_documents


def test_everything_that_an_encoder_tells_is_kept_in_the_order_of_the_texts(tmp_path):
    # More than one batch, and texts whose order by length is another.
    texts = [" ".join(f"w{i}{j}" for j in range(1 + i * 7 % 11)) for i in range(2 * BATCH_TEXTS + 3)]
    expected = Everything().encode_documents(texts)
    encoder = Everything()
    for _ in range(2):  # encoded, then read from the cache
        encoded = encode_texts(encoder, "documents", texts, name="n", cache=tmp_path)
        assert encoder.encoded == len(texts)
        for name in ("dense", "saliency", "token_ids", "spans"):
            np.testing.assert_array_equal(getattr(encoded, name), getattr(expected, name))
        np.testing.assert_array_equal(encoded.tokens.offsets, expected.tokens.offsets)
        np.testing.assert_array_equal(encoded.tokens.values, expected.tokens.values.astype(np.float16))
        weights = check_sparse(encoded.sparse, len(texts)).lists()
        assert weights == check_sparse(expected.sparse, len(texts)).lists()
    alone = encode_texts(SparseWords(), "documents", texts, name="n", cache=tmp_path)
    assert (alone.tokens, alone.dense, len(alone)) == (None, None, len(texts))
