"""Links lead to files and headings that exist; links to the web lead to hosts that somebody has looked at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.links import (
    ROOT,
    Link,
    addresses,
    anchors,
    internal_links,
    is_broken,
    is_own,
    is_unknown,
    sources,
    text_of,
)


def test_links_inside_the_repository_lead_to_files_and_headings():
    links = [link for file in sources() for link in internal_links(file, text_of(file))]
    assert {link.file.suffix for link in links} >= {".md", ".py"}
    assert not [str(link) for link in links if is_broken(link)]


def test_links_to_the_web_are_encrypted_and_lead_to_known_hosts():
    links = [link for file in sources() for link in addresses(file, text_of(file))]
    assert "https://qdrant.tech" in {link.target for link in links}
    assert not [str(link) for link in links if is_unknown(link)]


def test_addresses_of_the_project_agree():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    urls = dict(re.findall(r'^(Documentation|Source|Issues|Changelog) = "(.*)"$', project, re.MULTILINE))
    source, site = urls["Source"], urls["Documentation"]
    assert urls["Issues"].startswith(source) and urls["Changelog"].startswith(source)
    owner, name = source.removeprefix("https://github.com/").split("/")
    assert site == f"https://{owner}.github.io/{name}/"
    assert f"repository-code: {source}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert f"site_url: {site}\n" in settings and f"repo_url: {source}\n" in settings


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        ("README.md", False),
        ("README.md#try-it-in-this-checkout", False),
        ("README.md#try-it", True),
        ("docs/choose.md#when-not-to-use-embplug", False),
        ("docs/chose.md", True),
        ("#extras", False),
        ("#extra", True),
    ],
)
def test_a_link_that_leads_nowhere_is_noticed(target: str, broken: bool) -> None:
    page = ROOT / "README.md"
    text = f"See [this]({target}), not `[that](nowhere.md)`.\n"
    assert [is_broken(link) for link in internal_links(page, text)] == [broken]


def test_a_page_that_a_message_names_is_a_link() -> None:
    links = [*internal_links(Path("x.py"), 'f"run it (docs/migrating.md#roll-back), not docs/absent.md"')]
    assert [is_broken(link) for link in links] == [False, True]


def test_headings_that_come_again_get_numbers() -> None:
    assert anchors("# A `b`: c\n## See [x](y.md)\n```\n# no\n```\n## See x\n") == {
        "a-b-c",
        "see-x",
        "see-x-1",
    }


def test_addresses_of_examples_are_left_out() -> None:
    text = "http://localhost:6333 https://models.example.org/v1 http://qdrant:6333 https://arxiv.org/abs/1."
    assert [link.target for link in addresses(Path("x.md"), text)] == ["https://arxiv.org/abs/1"]
    assert is_unknown(Link(ROOT / "x", "http://arxiv.org")) and is_unknown(
        Link(ROOT / "x", "https://arxiv.com")
    )
    assert is_own(Link(ROOT / "x", "https://github.com/embplug/embplug/issues"))
