"""YAML of recipes is bounded before it is built."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from embplug import Recipe
from embplug.errors import RecipeError
from embplug.recipe.yaml_text import MAX_CHARACTERS, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


def test_aliases_are_read() -> None:
    assert read_yaml("a: &a {b: [1, 2]}\nc: *a\nd: {<<: *a, e: 1}") == {
        "a": {"b": [1, 2]},
        "c": {"b": [1, 2]},
        "d": {"b": [1, 2], "e": 1},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "values, aliases written out"),
        ("a: &a [*a]", "an alias of a value before it"),
        ("a: *b", "an alias of a value before it"),
        ("[" * 10_000, "inside each other"),
        ("a: " + "{k: " * 40 + "1" + "}" * 40, "inside each other"),
        ("".join("  " * i + f"k{i}:\n" for i in range(100)), "inside each other"),
        ("x" * (MAX_CHARACTERS + 1), "characters"),
        ("dense: {dim: " + "9" * 5000 + "}", "cannot be read"),
        ("a: 2024-99-99", "cannot be read"),
        ("a: !!int ''", "cannot be read"),
        ("a: !!bool x", "cannot be read"),
        ("a: !!timestamp x", "cannot be read"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read"),
        ("a\0", "cannot be read"),
        ("{", "cannot be read"),
    ],
)
def test_what_cannot_be_a_recipe_is_refused_soon(text: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(RecipeError, match=said):
        Recipe.from_yaml(text)
    assert time.monotonic() - started < 5


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes("\ufeffdense: {dim: 4}".encode())
    assert Recipe.from_file(file).dense["dense"].dim == 4
    file.write_bytes("dense: {dim: 4}\n# ä".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"^path: .*recipe\.yaml.* in line 2"):
        Recipe.from_file(file)
    for wrong in (tmp_path / "a\0b", tmp_path):
        with pytest.raises(RecipeError, match=r"^path: "):
            Recipe.from_file(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dense: {dim: 4}\ndense: {dim: 5}\n", "'dense' once more in line 2"),
        ("dense:\n  dim: 4\n  dim: 5\n", "'dim' once more in line 3"),
        ('{"dense": {"dim": 4}, "dense": {"dim": 5}}', "'dense' once more in line 1"),
    ],
)
def test_a_field_that_comes_twice_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"^recipe: expected each field once, got {said}$"):
        Recipe.from_yaml(text)
    assert [*Recipe.from_yaml("dense: {a: {dim: 4}, b: {dim: 4}}\ntext_key: dim\n").dense] == ["a", "b"]
