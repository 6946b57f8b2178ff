"""Collections in BEIR format."""

from __future__ import annotations

import pytest

from embplug.errors import InvalidArgumentError
from embplug.evaluation.beir import encode_texts, read_beir
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
    for one in (again, uncached):
        assert (one.tokens.values == first.tokens.values).all() and (one.dense == first.dense).all()
    encode_texts(encoder, "documents", ["changed", *texts[1:]], name="n", cache=tmp_path)
    assert encoder.encoded == 6
