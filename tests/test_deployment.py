"""Image, compose file and Kubernetes example agree with each other, with the command and with the server."""

import argparse
import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from registry import tiny_model

from glow_app.cli import COMMANDS, TRAINING
from glow_app.commands import serve
from glow_app.server import create_app
from glow_app.server.metrics import Metrics
from glow_app.server.run import STOP_SECONDS
from glow_app.usage import Parser

REPOSITORY = Path(__file__).parents[1]
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (REPOSITORY / "Dockerfile").read_text())).splitlines()
    if line.strip()
]
STAGE = max(number for number, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM")
IMAGE = dict(INSTRUCTIONS[STAGE:])
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
MANIFESTS = {one["kind"]: one for one in yaml.safe_load_all((REPOSITORY / "deploy/kubernetes.yaml").read_text())}
POD: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]


@pytest.fixture(scope="module")
def paths() -> set[str]:
    app = create_app(tiny_model())
    app.state.current.service.close()
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
    needed = {"pyproject.toml", "configs", project["project"]["readme"], *project["project"]["license-files"]}
    assert needed < names
    assert all(any(fnmatch.fnmatch(name, pattern) for name in names) for pattern in packages)
    assert all((REPOSITORY / name).exists() for name in names)
    arguments = dict(value.split("=") for word, value in INSTRUCTIONS if word == "ARG")
    assert arguments["TORCH_INDEX_URL"] == ""
    extras = arguments["EXTRAS"].split(",")
    assert "serve" in extras
    assert set(extras) <= set(project["project"]["optional-dependencies"])


def test_new_code_installs_no_packages_again() -> None:
    # Only pyproject.toml is copied before the last of them is installed.
    begin = next(number for number, (word, value) in enumerate(INSTRUCTIONS) if value.endswith(" AS packages"))
    end = next(n for n, (word, _) in enumerate(INSTRUCTIONS) if n > begin and word == "FROM")
    assert [value for word, value in INSTRUCTIONS[begin:end] if word == "COPY"] == ["pyproject.toml ."]
    last = INSTRUCTIONS[STAGE:]
    assert all("--no-deps" in value for word, value in last if word == "RUN" and "install " in value and "pip" in value)


def test_compose_builds_it_and_scrapes_it(paths: set[str]) -> None:
    service = COMPOSE["services"]["glow"]
    assert set(service["build"]["args"]) <= {value.split("=")[0] for word, value in INSTRUCTIONS if word == "ARG"}
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
        assert not command or command[0] in {*COMMANDS, *TRAINING}
        if command and command[0] == "serve":
            served(command)
        for word in command:
            assert not word.startswith("configs/") or (REPOSITORY / word).exists()
