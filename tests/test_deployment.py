"""The image, the compose file and the Kubernetes example agree with each other, the command and the server."""

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

from glow_app.cli import COMMANDS, TRAINING
from glow_app.commands import serve
from glow_app.commands.parser import Parser
from glow_app.server.app import create_app
from glow_app.server.process import STOP_SECONDS
from lightning_modules.presets import preset_names

REPOSITORY = Path(__file__).parents[1]
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (REPOSITORY / "Dockerfile").read_text())).splitlines()
    if line.strip()
]
STAGE = max(number for number, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM")
IMAGE = dict(INSTRUCTIONS[STAGE:])
ARGUMENTS = dict(value.split("=") for word, value in INSTRUCTIONS if word == "ARG" and "=" in value)
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
MANIFESTS = {one["kind"]: one for one in yaml.safe_load_all((REPOSITORY / "deploy/kubernetes.yaml").read_text())}
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


def test_image_listens_on_all_addresses_by_default(paths: set[str]) -> None:
    assert json.loads(IMAGE["ENTRYPOINT"]) == ["glow"]  # not through a shell, which would not forward SIGTERM
    arguments = served(json.loads(IMAGE["CMD"]))
    assert (arguments.host, str(arguments.port)) == ("0.0.0.0", IMAGE["EXPOSE"])
    asked = re.findall(rf"http://127\.0\.0\.1:{arguments.port}(/\w+)", IMAGE["HEALTHCHECK"])
    assert asked
    assert set(asked) <= paths
    user, group = map(int, IMAGE["USER"].split(":"))  # numeric, because Kubernetes cannot look up names
    assert min(user, group) > 0


def test_dockerignore_admits_the_files_of_the_image() -> None:
    ignored, *let_in = [line for line in (REPOSITORY / ".dockerignore").read_text().split() if line[0] in "*!"]
    assert ignored == "*"
    names = {line.removeprefix("!") for line in let_in if line.startswith("!")}
    packages = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {"pyproject.toml", "configs", "deploy/*.txt", PROJECT["readme"], *PROJECT["license-files"]} < names
    assert all(any(fnmatch.fnmatch(name, pattern) for name in names) for pattern in packages)
    assert all(any(REPOSITORY.glob(name)) for name in names)


def locked(packages: str) -> dict[str, str]:
    """Return the version of each package in a lock file, whose entries must have hashes and no URLs."""
    text = (REPOSITORY / f"deploy/requirements-{packages}.txt").read_text()
    assert "://" not in text
    entries = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ").splitlines()
    versions: dict[str, str] = {}
    for pinned, *hashes in (entry.split() for entry in entries):
        assert hashes, pinned
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), pinned
        name, _, version = pinned.partition("==")
        versions[canonicalize_name(name)] = version
    return versions


def torch_versions(packages: str) -> dict[str, str]:
    """Return the versions of the packages from torch's index."""
    text = (REPOSITORY / f"deploy/torch-{packages}.txt").read_text()
    more = {} if "-r torch-serve.txt" not in text else torch_versions("serve")
    return more | dict(re.findall(r"(?m)^(\w+)==(\S+)$", text))


@pytest.mark.parametrize(("packages", "extras"), [("serve", ["serve"]), ("train", ["serve", "demo", "hub"])])
def test_locked_packages_satisfy_the_requirements_of_the_project(packages: str, extras: list[str]) -> None:
    absent = {line for line in (REPOSITORY / "deploy/not-for-serving.txt").read_text().splitlines() if line[0] != "#"}
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    requirements = {canonicalize_name(one.name): one.specifier for one in map(Requirement, asked)}
    assert absent < set(requirements)
    if packages == "serve":
        requirements = {name: versions for name, versions in requirements.items() if name not in absent}
    installed = locked(packages) | torch_versions(packages)
    assert packages == "train" or not absent & set(installed)
    for name, versions in requirements.items():
        assert versions.contains(installed[name]), name
    assert f"--extra {' --extra '.join(extras)}" in (REPOSITORY / "Makefile").read_text()


def test_packages_are_installed_by_hash() -> None:
    assert {"cyclonedx-bom", "setuptools"} <= set(locked("build"))
    runs = [one for word, value in INSTRUCTIONS if word == "RUN" for one in value.split("&&")]
    installs = [one for one in runs if re.search(r"\bpip\b.* install ", one)]
    assert len(installs) == 4
    for one in installs:
        assert "--require-hashes" in one or "torch-$PACKAGES.txt" in one or "/wheels/*.whl" in one


def test_image_and_makefile_agree_on_versions_and_arguments() -> None:
    assert ARGUMENTS["VERSION"] == PROJECT["version"]
    python = re.match(r"python:(\d+\.\d+)-slim(@|$)", ARGUMENTS["BASE_IMAGE"])
    assert python is not None
    makefile = (REPOSITORY / "Makefile").read_text()
    assert f"--python-version {python[1]} " in makefile
    assert f"BASE := python:{python[1]}-slim\n" in makefile
    assert set(re.findall(r"--build-arg (\w+)=", makefile)) <= set(ARGUMENTS)


def test_compose_limits_resources_and_scrapes_metrics(paths: set[str]) -> None:
    service = COMPOSE["services"]["glow"]
    assert set(service["build"]["args"]) <= set(ARGUMENTS)
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["ports"] == [f"127.0.0.1:8000:{IMAGE['EXPOSE']}"]
    assert serve.KEY in service["environment"]
    assert service["environment"]["OMP_NUM_THREADS"] == service["deploy"]["resources"]["limits"]["cpus"]
    assert float(service["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    for each in COMPOSE["services"].values():
        assert {"cpus", "memory", "pids"} <= set(each["deploy"]["resources"]["limits"])
    mounted = COMPOSE["services"]["prometheus"]["volumes"][0].split(":")[0]
    (job,) = yaml.safe_load((REPOSITORY / mounted).read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"glow:{IMAGE['EXPOSE']}"]}]
    assert job["metrics_path"] in paths


def test_kubernetes_matches_the_image(paths: set[str]) -> None:
    assert served(CONTAINER["args"]).host == "0.0.0.0"
    context = POD["spec"]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == IMAGE["USER"]
    assert context["runAsNonRoot"] is True
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": int(IMAGE["EXPOSE"])}]
    for name in ("startup", "liveness", "readiness"):
        assert CONTAINER[f"{name}Probe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert "/healthz" in paths
    assert {serve.KEY, "OMP_NUM_THREADS"} == {one["name"] for one in CONTAINER["env"]}
    assert "/tmp" in {one["mountPath"] for one in CONTAINER["volumeMounts"]}
    waits = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["spec"]["terminationGracePeriodSeconds"] > waits + STOP_SECONDS
    labels = POD["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert MANIFESTS[kind]["spec"]["selector"]["matchLabels"] == labels


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
        assert (words[image] == "glow:train") is bool(command and command[0] in TRAINING)
        assert not command or command[0] in {*COMMANDS, *TRAINING}
        if command and command[0] == "serve":
            served(command)
        for option, name in pairwise(command):
            assert option != "--config" or name in preset_names()
