"""The examples in the docstrings of pages run."""

from __future__ import annotations

import doctest

import pytest

from embplug import pages


@pytest.mark.parametrize("name", ["PageImage", "read_pages"])
def test_the_example_of_a_docstring_runs(name):
    for example in doctest.DocTestFinder(recurse=False).find(getattr(pages, name), name, globs={}):
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0
