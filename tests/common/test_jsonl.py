from __future__ import annotations

import pytest

from embplug.common.jsonl import read_jsonl
from embplug.errors import InvalidArgumentError


def read(tmp_path, text, id_key=None, text_key="text"):
    file = tmp_path / "docs.jsonl"
    file.write_text(text, encoding="utf-8")
    return list(read_jsonl(file, id_key, text_key))


def test_id_text_and_the_rest(tmp_path):
    lines = '{"id": 1, "text": "a", "year": 2}\n\n{"_id": "x", "text": "b"}\n{"key": "k", "text": "c"}\n'
    first, second, third = read(tmp_path, lines)
    assert first == (1, "a", {"year": 2})
    assert second == ("x", "b", {})
    assert third[1:] == ("c", {"key": "k"})
    assert read(tmp_path, '{"key": "k", "text": "c"}', id_key="key") == [("k", "c", {})]


def test_an_id_made_from_the_text_is_the_same_again(tmp_path):
    one, two, other = read(tmp_path, '{"text": "a"}\n{"text": "a", "n": 1}\n{"text": "b"}')
    assert one[0] == two[0] != other[0]


@pytest.mark.parametrize("line", ["[1]", "{", '{"text": ""}', '{"text": 3}', "{}"])
def test_a_bad_line_is_named(tmp_path, line):
    with pytest.raises(InvalidArgumentError, match="line 2"):
        read(tmp_path, f'{{"text": "a"}}\n{line}')


def test_a_missing_id_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match="'key'"):
        read(tmp_path, '{"text": "a"}', id_key="key")


def test_a_byte_order_mark_is_left_out(tmp_path):
    assert read(tmp_path, '\ufeff{"id": 1, "text": "a"}\n') == [(1, "a", {})]


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a", "n": ' + "[" * 33 + "]" * 33 + "}",
        '{"text": "a", "n": ' + "[" * 99_999 + "]" * 99_999 + "}",
        '{"text": "a", "n": ' + "9" * 5000 + "}",
        '{"text": "a", "n": NaN}',
        '{"text": "a\\ud800"}',
        '{"text": "a", "id": "\\ud800"}',
        '{"text": "a", "id": 1.5}',
        '{"text": "a", "id": -1}',
    ],
)
def test_what_qdrant_cannot_keep_is_named_with_its_line(tmp_path, line):
    with pytest.raises(InvalidArgumentError, match=r"docs\.jsonl, line 2"):
        read(tmp_path, f'{{"text": "a"}}\n{line}')
