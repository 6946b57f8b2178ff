"""Links of the README, the docs, the examples and the docstrings, inside the repository and to the web.

``make links`` asks each address on the web; the tests check what needs no network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent

SUFFIXES = (".md", ".py", ".ipynb", ".toml", ".cff", ".yml", ".yaml")
FOLDERS = ("docs", "examples", "embplug", "integrations", "benchmarks", ".github")

HOSTS = frozenset(
    {
        "arxiv.org",
        "ir-measur.es",
        "keepachangelog.com",
        "modelcontextprotocol.io",
        "qdrant.tech",
        "semver.org",
    }
)
"""Hosts of others to which links lead. Whoever adds one has looked at the page."""

OWN = ("embplug.github.io", "github.com/embplug/", "pypi.org/project/embplug")
"""Beginnings of the project's own addresses, which come to be with its first release."""

_NO_ADDRESS = re.compile(r"(.*\.)?(example(\.(org|com|net))?|localhost|test|invalid)|www\.w3\.org")
"""Hosts of examples, and of names in XML."""

_BLOCK = re.compile(r"^( *)(```|~~~).*?^\1\2", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_TARGET = re.compile(
    r"""\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)  # [text](target "title")
    | ^\[[^\]]+\]:\s+(\S+)  # [name]: target
    | (?:href|src)="([^"]+)"
    """,
    re.MULTILINE | re.VERBOSE,
)
_ADDRESS = re.compile(r"https?://[^\s\"'`<>()\[\]{}|\\^]+")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_PAGE = re.compile(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?")


class Link(NamedTuple):
    """A link, and the file in which it stands."""

    file: Path
    target: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}: {self.target}"


def sources() -> list[Path]:
    """Return the files whose links are checked, of those that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.splitlines()]
    return [
        ROOT / file
        for file in files
        if file.suffix in SUFFIXES
        and (len(file.parts) == 1 or file.parts[0] in FOLDERS)
        and (ROOT / file).exists()
    ]


def text_of(file: Path) -> str:
    """Return the text of a file; of a notebook its cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def internal_links(file: Path, text: str) -> Iterator[Link]:
    """Links of Markdown to files and headings, and pages of ``docs/`` that programs and comments name."""
    if file.suffix in (".md", ".ipynb"):
        prose = _CODE.sub("", _BLOCK.sub("", text))
        for groups in _TARGET.findall(prose):
            target = next(group for group in groups if group)
            if "://" not in target and not target.startswith("mailto:"):
                yield Link(file, target)
    else:
        for page, anchor in _PAGE.findall(text):
            yield Link(file, f"/{page}" + (f"#{anchor}" if anchor else ""))


def is_broken(link: Link) -> bool:
    """Whether there is no such file, or no such heading in it."""
    path, _, anchor = unquote(link.target).partition("#")
    if not path:
        target = link.file
    elif path.startswith("/"):
        target = ROOT / path[1:]
    else:
        target = link.file.parent / path
    if not target.exists():
        return True
    return (
        bool(anchor) and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8"))
    )


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub and MkDocs make of the headings of a page."""
    slugs: set[str] = set()
    for heading in _HEADING.findall(_BLOCK.sub("", page)):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = re.sub(r"\s+", "-", plain.strip())
        number = sum(1 for other in slugs if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        slugs.add(f"{slug}-{number}" if number else slug)
    return slugs


def addresses(file: Path, text: str) -> Iterator[Link]:
    """Addresses of others on the web; those of examples and of machines that a user runs are left out."""
    for address in _ADDRESS.findall(text):
        trimmed = address.rstrip(".,;:!*")
        host = urlsplit(trimmed).hostname or ""
        if "." in host and not re.fullmatch(r"[\d.]+", host) and not _NO_ADDRESS.fullmatch(host):
            yield Link(file, trimmed)


def is_unknown(link: Link) -> bool:
    """Whether an address is not encrypted, or leads to a host that nobody has looked at."""
    return not is_own(link) and (
        not link.target.startswith("https://") or urlsplit(link.target).hostname not in HOSTS
    )


def is_own(link: Link) -> bool:
    """Whether an address is one of the project itself."""
    return link.target.removeprefix("https://").startswith(OWN)


def answer(address: str) -> str:
    """Ask an address, and return what is wrong with its answer; nothing if it is there."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            page = response.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return str(error)
    anchor = urlsplit(address).fragment
    missing = anchor and not re.search(rf"(?:id|name)=[\"']?{re.escape(anchor)}[\"'\s>]", page)
    return f"no place #{anchor} on the page" if missing else ""


def main() -> int:
    """Ask all addresses, print those that are not there, and return their number."""
    links = [link for file in sources() for link in addresses(file, text_of(file)) if not is_own(link)]
    targets = sorted({link.target for link in links})
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(targets, pool.map(answer, targets), strict=True))
    broken = [link for link in links if answers[link.target]]
    for link in broken:
        print(f"{link}: {answers[link.target]}")
    print(f"{len(targets)} addresses, {len({link.target for link in broken})} of them broken")
    return len(broken)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
