"""Image, compose file and Kubernetes example agree with each other, with the command and with the server."""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
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
from glow_app.server import create_app
from glow_app.server.metrics import Metrics
from glow_app.server.run import STOP_SECONDS
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
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
MANIFESTS = {one["kind"]: one for one in yaml.safe_load_all((REPOSITORY / "deploy/kubernetes.yaml").read_text())}
POD: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]


@pytest.fixture(scope="module")
def paths() -> set[str]:
    app = create_app(tiny_model())
    app.state.service.worker.close()
    return set(app.openapi()["paths"])


def served(words: list[str]) -> argparse.Namespace:
    """Parse the command of a container."""
    assert words[0] == "serve"
    parser = Parser(prog="glow serve")
    serve.add_arguments(parser)
    return parser.parse(words[1:])


def test_the_image_serves_to_the_outside_by_default(paths: set[str]) -> None:
    assert json.loads(IMAGE["ENTRYPOINT"]) == ["glow"]  # not by a shell, which would keep SIGTERM to itself
    arguments = served(json.loads(IMAGE["CMD"]))
    assert (arguments.host, str(arguments.port)) == ("0.0.0.0", IMAGE["EXPOSE"])
    options, _, command = IMAGE["HEALTHCHECK"].partition(" CMD ")
    assert "--start-period" in options
    asked = re.findall(rf"http://127\.0\.0\.1:{arguments.port}(/\w+)", json.loads(command)[-1])
    assert asked
    assert set(asked) <= paths
    user, group = map(int, IMAGE["USER"].split(":"))  # numbers: Kubernetes cannot tell who a name is
    assert min(user, group) > 0


def test_the_image_is_made_of_what_the_context_lets_in() -> None:
    ignored, *let_in = [line for line in (REPOSITORY / ".dockerignore").read_text().split() if line[0] in "*!"]
    assert ignored == "*"
    names = {line.removeprefix("!") for line in let_in if line.startswith("!")}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    needed = {"pyproject.toml", "configs", "deploy/*.txt", PROJECT["readme"], *PROJECT["license-files"]}
    assert needed < names
    assert all(any(fnmatch.fnmatch(name, pattern) for name in names) for pattern in packages)
    assert all(any(REPOSITORY.glob(name)) for name in names)
    assert ARGUMENTS["TORCH_INDEX_URL"] == ""


def test_new_code_installs_no_packages_again() -> None:
    # Only lists of packages are copied before the last of them is installed.
    begin = next(number for number, (word, value) in enumerate(INSTRUCTIONS) if value.endswith(" AS packages"))
    end = next(n for n, (word, _) in enumerate(INSTRUCTIONS) if n > begin and word == "FROM")
    copied = [value for word, value in INSTRUCTIONS[begin:end] if word == "COPY"]
    assert copied
    assert all(re.fullmatch(r"deploy/\S+\.txt \.", value) for value in copied)
    last = INSTRUCTIONS[STAGE:]
    assert all("--no-deps" in value for word, value in last if word == "RUN" and "install " in value and "pip" in value)


def locked(packages: str) -> dict[str, str]:
    """Return the names and versions of a list of packages, each of which has to have hashes and to name no place."""
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
    """Return the versions of what comes from torch's index."""
    text = (REPOSITORY / f"deploy/torch-{packages}.txt").read_text()
    more = {} if "-r torch-serve.txt" not in text else torch_versions("serve")
    return more | dict(re.findall(r"(?m)^(\w+)==(\S+)$", text))


@pytest.mark.parametrize(("packages", "extras"), [("serve", ["serve"]), ("train", ["serve", "demo", "hub"])])
def test_the_image_installs_what_the_project_asks_for(packages: str, extras: list[str]) -> None:
    absent = {line for line in (REPOSITORY / "deploy/not-for-serving.txt").read_text().splitlines() if line[0] != "#"}
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    requirements = {canonicalize_name(one.name): one.specifier for one in map(Requirement, asked)}
    assert absent < set(requirements)
    if packages == "serve":
        requirements = {name: versions for name, versions in requirements.items() if name not in absent}
    else:
        absent = set()
    installed = locked(packages) | torch_versions(packages)
    assert not absent & set(installed)
    for name, versions in requirements.items():
        assert versions.contains(installed[name]), name
    assert f"--extra {' --extra '.join(extras)}" in (REPOSITORY / "Makefile").read_text()


def test_packages_are_installed_by_hash() -> None:
    assert ARGUMENTS["PACKAGES"] == "serve"
    assert {"cyclonedx-bom", "setuptools"} <= set(locked("build"))
    installs = [
        one
        for word, value in INSTRUCTIONS
        if word == "RUN"
        for one in value.split("&&")
        if re.search(r"\bpip\b.* install ", one)
    ]
    assert len(installs) == 4
    for one in installs:
        assert "--require-hashes" in one or "torch-$PACKAGES.txt" in one or "/wheels/*.whl" in one


def test_labels_and_lists_are_of_this_version() -> None:
    assert ARGUMENTS["VERSION"] == PROJECT["version"]
    for label, argument in {"version": "VERSION", "revision": "REVISION", "created": "CREATED"}.items():
        assert f'org.opencontainers.image.{label}="${argument}"' in IMAGE["LABEL"]
    python = re.match(r"python:(\d+\.\d+)-slim(@|$)", ARGUMENTS["BASE_IMAGE"])
    assert python is not None
    makefile = (REPOSITORY / "Makefile").read_text()
    assert f"--python-version {python[1]} " in makefile
    assert f"BASE := python:{python[1]}-slim\n" in makefile
    passed = re.findall(r"--build-arg (\w+)=", makefile)
    assert set(passed) <= set(ARGUMENTS)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("answer", [f"sha256:{'0123' * 16}", "", "sha256:0123"])
def test_the_base_is_pinned_by_its_digest(answer: str, tmp_path: Path) -> None:
    for name in ("Dockerfile", "Makefile"):
        shutil.copy(REPOSITORY / name, tmp_path)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$@" > asked\necho "{answer}"\n')
    docker.chmod(0o755)
    environment = {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["make", "pin-base"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    before, after = ((folder / "Dockerfile").read_text() for folder in (REPOSITORY, tmp_path))
    base = ARGUMENTS["BASE_IMAGE"].partition("@")[0]
    assert f" {base} " in (tmp_path / "asked").read_text()
    pinned = f"ARG BASE_IMAGE={base}@{answer}\n"
    valid = len(answer) == 71
    assert (done.returncode == 0) is valid
    assert after == (re.sub(r"ARG BASE_IMAGE=.*\n", pinned, before, count=1) if valid else before)


def test_compose_builds_it_and_scrapes_it(paths: set[str]) -> None:
    service = COMPOSE["services"]["glow"]
    assert set(service["build"]["args"]) <= set(ARGUMENTS)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["ports"] == [f"127.0.0.1:8000:{IMAGE['EXPOSE']}"]
    assert serve.KEY in service["environment"]
    assert service["environment"]["OMP_NUM_THREADS"] == service["deploy"]["resources"]["limits"]["cpus"]
    assert float(service["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    mounted = COMPOSE["services"]["prometheus"]["volumes"][0].split(":")[0]
    (job,) = yaml.safe_load((REPOSITORY / mounted).read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"glow:{IMAGE['EXPOSE']}"]}]
    assert job["metrics_path"] in paths


def test_kubernetes_runs_it_as_it_is_built(paths: set[str]) -> None:
    assert served(CONTAINER["args"]).host == "0.0.0.0"
    context = POD["spec"]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == IMAGE["USER"]
    assert context["runAsNonRoot"] is True
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"http": int(IMAGE["EXPOSE"])}
    assert MANIFESTS["Service"]["spec"]["ports"][0]["targetPort"] in ports
    for name, path in {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}.items():
        assert CONTAINER[f"{name}Probe"]["httpGet"] == {"path": path, "port": "http"}
        assert path in paths
    environment = {one["name"]: one["valueFrom"] for one in CONTAINER["env"]}
    assert {serve.KEY, "OMP_NUM_THREADS"} == set(environment)
    volumes = {one["name"] for one in POD["spec"]["volumes"]}
    assert {one["name"] for one in CONTAINER["volumeMounts"]} <= volumes
    assert "/tmp" in {one["mountPath"] for one in CONTAINER["volumeMounts"]}
    waits = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["spec"]["terminationGracePeriodSeconds"] > waits + STOP_SECONDS


def test_everything_in_compose_is_bounded() -> None:
    for service in COMPOSE["services"].values():
        assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert ".env" in (REPOSITORY / ".gitignore").read_text().split()


def test_the_network_policy_is_of_the_same_pods() -> None:
    policy = yaml.safe_load((REPOSITORY / "deploy/kubernetes-network.yaml").read_text())
    assert policy["spec"]["podSelector"]["matchLabels"] == POD["metadata"]["labels"]
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [port["name"] for port in CONTAINER["ports"]]


def test_the_page_replaces_the_image_that_the_example_names() -> None:
    page = (REPOSITORY / "docs/deploying.md").read_text()
    (replaced,) = re.findall(r"sed 's\|(.*?)\|", page)
    assert replaced == CONTAINER["image"]


def test_kubernetes_finds_and_scales_its_pods(paths: set[str]) -> None:
    labels = POD["metadata"]["labels"]
    assert MANIFESTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    spread = POD["spec"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for one in spread:
        assert one["labelSelector"]["matchLabels"] == labels
        assert one["whenUnsatisfiable"] == "ScheduleAnyway"  # a cluster of one node has to run both pods
    annotations = POD["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in paths
    assert annotations["prometheus.io/port"] == IMAGE["EXPOSE"]
    scaler = MANIFESTS["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": MANIFESTS["Deployment"]["apiVersion"],
        "kind": "Deployment",
        "name": MANIFESTS["Deployment"]["metadata"]["name"],
    }
    assert "replicas" not in MANIFESTS["Deployment"]["spec"]  # every `kubectl apply` would undo the scaler's number
    (metric,) = scaler["metrics"]
    name = metric["pods"]["metric"]["name"]
    metrics = Metrics(4)
    assert name in {family.name for family in metrics.registry.collect()}
    assert int(metric["pods"]["target"]["averageValue"]) < served(CONTAINER["args"]).max_queue
    (rule,) = yaml.safe_load((REPOSITORY / "deploy/prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert re.fullmatch(rule["name"]["matches"], name)
    assert rule["name"]["as"] == name


def test_the_commands_of_the_page_are_commands() -> None:
    page = (REPOSITORY / "docs/deploying.md").read_text()
    code = re.sub(r" *\\\n *", " ", "\n".join(re.findall(r"(?m)^    (.*)$", page)))
    runs = [shlex.split(line, comments=True) for line in code.splitlines() if line.startswith("docker run ")]
    assert len(runs) > 4
    for words in runs:
        image = next(number for number, word in enumerate(words) if word.partition(":")[0] == "glow")
        command = words[image + 1 :]
        if "--entrypoint" in words:
            assert Path(command[0]).name in " ".join(value for word, value in INSTRUCTIONS[STAGE:] if word == "COPY")
            continue
        assert (words[image] == "glow:train") is bool(command and command[0] in TRAINING)
        assert not command or command[0] in {*COMMANDS, *TRAINING}
        if command and command[0] == "serve":
            served(command)
        for option, name in pairwise(command):
            assert option != "--config" or name in preset_names()
