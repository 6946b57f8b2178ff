"""Names of models that a stored recipe may load."""

from __future__ import annotations

import pytest

from embplug.encoders.trust import ENVIRONMENT, check_trusted
from embplug.errors import UntrustedModelError

ENDPOINT = "openai:https://models.example.org/v1#m"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("fastembed:a/b", "*"),
        ("fastembed:a/b", "fastembed:a/*"),
        ("sentence-transformers:a/b", "sentence-transformers:*"),
        (ENDPOINT, ENDPOINT),
        (ENDPOINT, "openai:https://models.example.org/*"),
        ("tei:http://localhost:8080", "tei:http://localhost:8080"),
        ("tei:http://localhost:8080#tokens", "tei:http://localhost:8080#*"),
        ("tei:http://[::1]:8080", "tei:http://[::1]:8080"),
    ],
)
def test_what_the_environment_names_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, pattern: str
) -> None:
    with pytest.raises(UntrustedModelError):
        check_trusted(name, "encoder", ())
    monkeypatch.setenv(ENVIRONMENT, f"other, {pattern}")
    check_trusted(name, "encoder", ())


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "openai:*",
        "openai:https://*",
        "openai:https://*.example.org/v1#m",
        "openai:https://models.example.org*",
        "openai:https://[a-z]odels.example.org/v1#m",
        "openai:https://?odels.example.org/*",
        "openai:https://models.example.com/*",
    ],
)
def test_an_address_is_allowed_only_where_it_is_spelt_out(
    monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setenv(ENVIRONMENT, pattern)
    with pytest.raises(UntrustedModelError, match="openai:https://models"):
        check_trusted(ENDPOINT, "encoder", ())
    check_trusted(ENDPOINT, "encoder", {ENDPOINT})
