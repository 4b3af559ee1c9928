"""The files of the container image, of Compose and of Kubernetes agree with the command, the server and each other."""

import argparse
import fnmatch
import json
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from registry import tiny_model

from glow_app.cli import COMMANDS
from glow_app.commands import serve
from glow_app.commands.parser import Parser
from glow_app.commands.presets import preset_names
from glow_app.server.app import create_app
from glow_app.server.process import STOP_SECONDS

REPOSITORY = Path(__file__).parents[1]
IMAGE = dict(re.findall(r"(?m)^(CMD|EXPOSE|HEALTHCHECK|USER) (.+)$", (REPOSITORY / "Dockerfile").read_text()))
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
MANIFESTS = {each["kind"]: each for each in yaml.safe_load_all((REPOSITORY / "deploy/kubernetes.yaml").read_text())}
POD: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]


@pytest.fixture(scope="module")
def paths() -> set[str]:
    app = create_app(tiny_model())
    app.state.service.close()
    return set(app.openapi()["paths"])


def served(words: list[str]) -> argparse.Namespace:
    """Parse the command of a container."""
    assert words[0] == "serve"
    parser = Parser(prog="glow serve")
    serve.add_arguments(parser)
    return parser.parse(words[1:])


def test_the_image_listens_where_compose_and_kubernetes_expect_it(paths: set[str]) -> None:
    services = COMPOSE["services"]
    for words in (json.loads(IMAGE["CMD"]), services["glow"]["command"], CONTAINER["args"]):
        arguments = served(words)
        assert (arguments.host, str(arguments.port)) == ("0.0.0.0", IMAGE["EXPOSE"])
    assert services["glow"]["ports"] == [f"127.0.0.1:8000:{IMAGE['EXPOSE']}"]
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": int(IMAGE["EXPOSE"])}]
    mounted = services["prometheus"]["volumes"][0].split(":")[0]
    (job,) = yaml.safe_load((REPOSITORY / mounted).read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"glow:{IMAGE['EXPOSE']}"]}]
    probed = [CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]
    healthy = re.findall(rf"http://127\.0\.0\.1:{IMAGE['EXPOSE']}(/\w+)", IMAGE["HEALTHCHECK"])
    assert {job["metrics_path"], *probed, *healthy} <= paths


def test_a_server_has_the_time_to_stop() -> None:
    assert float(COMPOSE["services"]["glow"]["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    waits = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["spec"]["terminationGracePeriodSeconds"] > waits + STOP_SECONDS


def test_names_agree() -> None:
    context = POD["spec"]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == IMAGE["USER"]
    assert serve.KEY in COMPOSE["services"]["glow"]["environment"]
    assert serve.KEY in {each["name"] for each in CONTAINER["env"]}
    labels = POD["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert MANIFESTS[kind]["spec"]["selector"]["matchLabels"] == labels
    assert f"\nARG VERSION={PROJECT['version']}\n" in (REPOSITORY / "Dockerfile").read_text()


def test_dockerignore_admits_the_files_of_the_image() -> None:
    ignored, *let_in = [line for line in (REPOSITORY / ".dockerignore").read_text().split() if line[0] in "*!"]
    assert ignored == "*"
    names = {line.removeprefix("!") for line in let_in if line.startswith("!")}
    packages = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {"pyproject.toml", "configs", "deploy/*.txt", PROJECT["readme"], *PROJECT["license-files"]} < names
    assert all(any(fnmatch.fnmatch(name, pattern) for name in names) for pattern in packages)
    assert all(any(REPOSITORY.glob(name)) for name in names)


def versions_of(packages: str) -> dict[str, str]:
    """Return the version of each locked package, and of each from torch's index."""
    names = [f"requirements-{packages}", "torch-serve", *(["torch-train"] if packages == "train" else [])]
    lists = [(REPOSITORY / f"deploy/{name}.txt").read_text() for name in names]
    pinned = [each for text in lists for each in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text)]
    return {canonicalize_name(name): version for name, version in pinned}


@pytest.mark.parametrize(("packages", "extras"), [("serve", ["serve"]), ("train", ["serve", "demo", "hub"])])
def test_locked_packages_satisfy_the_requirements_of_the_project(packages: str, extras: list[str]) -> None:
    absent = {line for line in (REPOSITORY / "deploy/not-for-serving.txt").read_text().splitlines() if line[0] != "#"}
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    requirements = {canonicalize_name(one.name): one.specifier for one in map(Requirement, asked)}
    assert absent < set(requirements)
    if packages == "serve":
        requirements = {name: versions for name, versions in requirements.items() if name not in absent}
    installed = versions_of(packages)
    assert packages == "train" or not absent & set(installed)
    for name, versions in requirements.items():
        assert versions.contains(installed[name]), name


def test_commands_on_the_page_exist() -> None:
    page = (REPOSITORY / "docs/deploying.md").read_text()
    assert re.findall(r"sed 's\|(.*?)\|", page) == [CONTAINER["image"]]
    code = re.sub(r" *\\\n *", " ", "\n".join(re.findall(r"(?m)^    (.*)$", page)))
    runs = [shlex.split(line, comments=True) for line in code.splitlines() if line.startswith("docker run ")]
    assert len(runs) > 4
    for words in runs:
        image = next(number for number, word in enumerate(words) if word.partition(":")[0] == "glow")
        command = words[image + 1 :]
        if "--entrypoint" in words:
            continue
        assert (words[image] == "glow:train") is bool(command and command[0] in ("fit", "presets"))
        assert not command or command[0] in COMMANDS
        if command and command[0] == "serve":
            served(command)
        for option, name in pairwise(command):
            assert option != "--config" or name in preset_names()
