"""The other examples: the scripts run, and commands in other files have the options that they name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from qdrant_client import QdrantClient, models

from embplug import Collection, Recipe, connect
from embplug.cli import app
from tests.servers import VERSION
from tests.words import DIM, Words

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
IMAGE = f"qdrant/qdrant:v{VERSION}"


def checked_command(words: list[str]) -> dict[str, Any]:
    """Options of a command of embplug, read as the command line reads them."""
    assert words[0] == "embplug"
    group: Any = typer.main.get_command(app)
    params: dict[str, Any] = group.commands[words[1]].make_context(words[1], words[2:]).params
    return params


def test_the_job_of_kubernetes_migrates():
    job = yaml.safe_load((EXAMPLES / "kubernetes" / "migrate.yaml").read_text())
    assert (job["kind"], job["spec"]["template"]["spec"]["restartPolicy"]) == ("Job", "Never")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    options = checked_command(container["command"])
    assert (options["source"], options["target"], options["alias"]) == ("docs", "docs_small", "live")
    assert options["recall"] == 0.95 and str(options["recipe"]) == "/recipe/recipe.yaml"
    assert {entry["name"] for entry in container["env"]} == {"EMBPLUG_AT", "QDRANT_API_KEY"}
    rule = job["spec"]["podFailurePolicy"]["rules"][0]
    assert rule["onExitCodes"]["containerName"] == container["name"]


def test_the_job_of_ci_holds_recipes_to_a_bar():
    (job,) = yaml.safe_load((EXAMPLES / "ci" / "evaluate.yml").read_text())["jobs"].values()
    commands = [step["run"].split() for step in job["steps"] if step.get("run", "").startswith("embplug")]
    evaluated, reported = map(checked_command, commands)
    assert evaluated["fail_under"] == ["nDCG@10=0.60", "overlap@10=0.85"]
    assert evaluated["output"] == reported["result"]


@pytest.mark.parametrize("folder", ["compose", "cluster"])
def test_services_of_a_compose_file_find_each_other(folder):
    services = yaml.safe_load((EXAMPLES / folder / "compose.yaml").read_text())["services"]
    images = {service["image"] for service in services.values() if "image" in service}
    assert images == {IMAGE}
    text = json.dumps(services)
    assert {name for name in re.findall(r"http://([\w-]+):", text)} <= services.keys()
    for service in services.values():
        # Nobody outside the machine reaches a port.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("path", sorted((EXAMPLES / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_read(path):
    assert Recipe.from_file(path).encoder == "minilm-int8"


def set_up(folder: Path) -> str:
    """What the script says about a collection in a folder."""
    arguments = ["docs_v1", "live", str(EXAMPLES / "recipes" / "dense.yaml"), str(folder)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "set_up_collection.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_collection_is_set_up_once_and_then_left_alone(tmp_path):
    assert set_up(tmp_path / "data") == "docs_v1: 0 documents; live points at docs_v1\n"
    with connect(tmp_path / "data") as engine:
        assert Collection.open("live", engine).recipe.payload_indexes.keys() == {"year"}
        Collection.create("docs_v2", Recipe.from_dict({"dense": {"dim": 4}}), engine)
        moved = models.CreateAlias(collection_name="docs_v2", alias_name="live")
        engine.update_collection_aliases([models.CreateAliasOperation(create_alias=moved)])
    # Readers may have been moved to another collection since.
    assert set_up(tmp_path / "data") == "docs_v1: 0 documents; live points at docs_v2\n"


@pytest.fixture
def service(memory_client: QdrantClient) -> Iterator[str]:
    """The application of the compose file, with an encoder that needs no model."""
    source = compile((EXAMPLES / "compose" / "app.py").read_text(), "app.py", "exec")
    application: dict[str, Any] = {"__name__": "app"}
    exec(source, application)
    recipe = Recipe.from_dict({"dense": {"dim": DIM}})
    handler = application["Handler"]
    handler.docs = Collection.create("docs", recipe, memory_client, encoder=Words())
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def reply_of(url: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_application_stores_and_finds(service):
    for name, text in {"bees": "bees fly", "whales": "whales sing"}.items():
        body = json.dumps({"id": name, "text": text}).encode()
        assert reply_of(f"{service}/documents", body) == (200, {"added": 1})
    assert reply_of(f"{service}/health") == (200, {"documents": 2})
    status, found = reply_of(f"{service}/search?text=sing&limit=1")
    assert (status, [hit["id"] for hit in found["hits"]]) == (200, ["whales"])


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/search?text=", None, 400, "text"),
        ("/search?text=a&limit=x", None, 400, "limit"),
        ("/documents", b"{", 400, "expected"),
        ("/documents", b'{"id": 1}', 400, "expected"),
        ("/documents", b'{"id": 1, "text": " "}', 400, "texts[0]"),
        ("/elsewhere", None, 404, "expected"),
        ("/elsewhere", b"{}", 404, "expected"),
    ],
)
def test_the_application_refuses_what_is_wrong(service, path, body, status, error):
    code, answer = reply_of(service + path, body)
    assert code == status and error in answer["error"]
