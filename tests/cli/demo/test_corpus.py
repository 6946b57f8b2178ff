from __future__ import annotations

from embplug.cli.demo.corpus import SHORTEST, stdlib_docstrings

SOURCE = '''"""Sums up a module. {rest}"""

def f():
    """Return something useful! {other}"""

class C:
    """Too short. Really."""
    async def g(self):
        """Return something useful! {another}"""
'''


def test_first_sentence_is_the_query_and_the_rest_the_document(tmp_path):
    rest, other = "The rest of it. " * 10, "More of it. " * 12
    (tmp_path / "one.py").write_text(SOURCE.format(rest=rest, other=other, another=other + "And on."))
    (tmp_path / "two.py").write_text(f'"""Another query for it? {rest}"""')
    (tmp_path / "broken.py").write_text("def (:")
    found = stdlib_docstrings(tmp_path)
    assert [(d.name, d.query) for d in found] == [
        ("one", "Sums up a module."),
        ("one.f", "Return something useful!"),
    ]
    assert found[0].text == rest.strip()


def test_the_standard_library_has_about_two_thousand():
    found = stdlib_docstrings()
    assert len(found) > 1500
    assert len({d.text for d in found}) == len({d.query for d in found}) == len(found)
    assert min(len(d.text) for d in found) >= SHORTEST
    assert [d.name for d in found] == sorted(d.name for d in found)
