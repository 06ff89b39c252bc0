"""Every file of infra/ that describes a machine: valid against its schema, pinned, not root, secrets by reference."""

from __future__ import annotations

import gzip
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from jobs.serve import GRACE_S
from jobs.serving.config import read_config
from stages.metrics import METRICS

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MANIFESTS = sorted((INFRA / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.34"
CUSTOM = {"RayCluster", "RayJob", "RayService"}
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)

Tree = dict[str, object]


def documents() -> dict[str, Tree]:
    """Every document of every manifest, by file, kind and name."""
    loaded = [(path.name, one) for path in MANIFESTS for one in yaml.safe_load_all(path.read_text("utf-8"))]
    return {f"{file}:{one['kind']}:{one['metadata']['name']}": one for file, one in loaded}


DOCUMENTS = documents()


def schema(kind: str) -> Tree:
    path = Path(__file__).parent / "schemas" / f"{kind.lower()}-ray.io-v1.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def validate(document: Tree) -> None:
    if document["kind"] in CUSTOM:
        jsonschema.validate(document, schema(str(document["kind"])))
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def walk(tree: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in items:
        yield from walk(value, (*path, str(name)))


def pods(document: Tree) -> list[Tree]:
    """Every pod template's spec in a document."""
    return [value for _, value in walk(document) if isinstance(value, dict) and "containers" in value]


def test_what_kubernetes_gets_is_there() -> None:
    kinds = [str(one["kind"]) for one in DOCUMENTS.values()]
    assert CUSTOM | {"CronJob", "NetworkPolicy", "ConfigMap", "Namespace", "ServiceAccount"} == set(kinds)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_manifest_is_valid(name: str) -> None:
    document = DOCUMENTS[name]
    validate(document)
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] == "manta"


def test_the_schemas_refuse_what_they_do_not_know() -> None:
    cluster = json.loads(json.dumps(DOCUMENTS["raycluster.yaml:RayCluster:manta"]))
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePulPolicy"):
        validate(cluster)
    job = json.loads(json.dumps(DOCUMENTS["cronjob.yaml:CronJob:manta-nightly"]))
    job["spec"]["concurrency"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError, match="concurrency"):
        validate(job)


@pytest.mark.parametrize("name", [name for name, one in DOCUMENTS.items() if pods(one)])
def test_pods_ask_for_what_they_need_and_have_no_rights(name: str) -> None:
    for pod in pods(DOCUMENTS[name]):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 1000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert re.fullmatch(r"manta:\d+\.\d+\.\d+(-cuda)?", container["image"])
            for name in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][name])
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            if container["name"].startswith("ray-"):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert {"livenessProbe", "readinessProbe"} <= set(container)
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounted == {volume["name"] for volume in pod.get("volumes", ())}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_secrets_are_references(name: str) -> None:
    document = DOCUMENTS[name]
    assert document["kind"] != "Secret"
    for path, value in walk(document):
        if path[-2:-1] == ("env",) and isinstance(value, dict) and SECRET.search(str(value["name"])):
            assert "secretKeyRef" in value["valueFrom"]
        if path and SECRET.search(path[-1]) and isinstance(value, str):
            assert path[-1] in {"secretName", "defaultMode", "automountServiceAccountToken"}, path


def test_clusters_ask_for_a_token_and_run_the_pinned_ray() -> None:
    specs = [
        DOCUMENTS["raycluster.yaml:RayCluster:manta"]["spec"],
        DOCUMENTS["rayjob.yaml:RayJob:manta-run"]["spec"]["rayClusterSpec"],
        DOCUMENTS["rayservice.yaml:RayService:manta-serve"]["spec"]["rayClusterConfig"],
    ]
    for spec in specs:
        assert spec["authOptions"] == {"mode": "token", "secretName": "manta-ray-token"}
        assert f"ray=={spec['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert ray.__version__ == specs[0]["rayVersion"]


def test_the_cronjob_is_what_the_command_makes(capsys, monkeypatch) -> None:
    import sys

    from jobs import cli

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["manta", "schedule", "infra/schedules/nightly.yaml", "--manifest"])
    with pytest.raises(SystemExit):
        cli.main()
    assert (INFRA / "kubernetes/cronjob.yaml").read_text("utf-8").partition("\n")[2] == capsys.readouterr().out
    job = DOCUMENTS["cronjob.yaml:CronJob:manta-nightly"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    address = job["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][2]
    assert address == "http://manta-head-svc:8265"  # KubeRay calls the head's service CLUSTER-head-svc


# ---- Serve


def test_serve_configs_are_valid_and_the_same() -> None:
    from ray.serve.schema import ServeDeploySchema

    ours = yaml.safe_load((INFRA / "serve/ray-serve.yaml").read_text())
    service = DOCUMENTS["rayservice.yaml:RayService:manta-serve"]["spec"]
    assert yaml.safe_load(service["serveConfigV2"]) == ours
    parsed = ServeDeploySchema.model_validate(ours)
    assert set(ours) <= set(ServeDeploySchema.model_fields)  # Ray itself passes over what it does not know
    assert set(ours["http_options"]) <= set(type(parsed.http_options).model_fields)
    (application,) = parsed.applications
    assert application.import_path == "jobs.serving.deployed:build"
    config = DOCUMENTS["rayservice.yaml:ConfigMap:manta-serve"]["data"]["serve.yaml"]
    assert yaml.safe_load(config) == yaml.safe_load((INFRA / "serve/serve.yaml").read_text())
    endpoint = read_config(str(INFRA / "serve/serve.yaml")).sections.serve
    assert ours["http_options"]["request_timeout_s"] == endpoint.timeout_s + GRACE_S
    module, _, name = ours["applications"][0]["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    pod = service["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    places = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert str(Path(application.args["config"]).parent) in places
    assert str(Path(yaml.safe_load(config)["serve"]["keys_file"]).parent) in places


# ---- compose, images, the cloud


def compose() -> Tree:
    return yaml.safe_load((INFRA / "docker/compose.yaml").read_text("utf-8"))


KEYS = {
    "image", "build", "command", "entrypoint", "environment", "secrets", "shm_size", "stop_grace_period", "ports",
    "healthcheck", "deploy", "depends_on", "volumes", "restart", "cap_drop", "security_opt", "logging",
}  # fmt: skip
"""The keys of a service that the file uses; each is one of the Compose specification's."""


def test_compose_describes_services_that_fit_together() -> None:
    tree = compose()
    services = tree["services"]
    assert set(services) == {"head", "worker", "mlflow", "postgres", "s3", "buckets", "prometheus", "grafana"}
    assert {name for name in tree if not name.startswith("x-")} == {"name", "services", "volumes", "secrets"}
    for name, service in services.items():
        assert set(service) <= KEYS, name
        for other, how in (
            (service.get("depends_on") or {}).items() if isinstance(service.get("depends_on"), dict) else ()
        ):
            assert how["condition"] in {"service_healthy", "service_completed_successfully"}
            assert ("healthcheck" in services[other]) == (how["condition"] == "service_healthy")
        assert set(service.get("secrets", ())) <= set(tree["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in tree["volumes"] or (INFRA / "docker" / source).resolve().is_file(), volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), port
        assert "no-new-privileges:true" in service["security_opt"]


def test_compose_keeps_secrets_in_files() -> None:
    tree = compose()
    made = (INFRA / "docker/make-secrets.sh").read_text()
    for name, one in tree["secrets"].items():
        assert one == {"file": f"./secrets/{name}"}
        assert f"make {name} " in made
    assert "infra/docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    for name, service in tree["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if SECRET.search(variable):
                assert str(value).startswith("/run/secrets/"), (name, variable)
                assert Path(str(value)).name in service["secrets"]


def test_secrets_are_made_once_and_fit_together(tmp_path) -> None:
    import subprocess

    script = tmp_path / "make-secrets.sh"
    script.write_bytes((INFRA / "docker/make-secrets.sh").read_bytes())
    first = subprocess.run(["bash", script], check=True, capture_output=True, text=True)
    contents = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(contents) == set(compose()["secrets"])
    assert contents["s3_password"] in contents["aws_credentials"]
    assert len(contents["ray_token"]) == 64
    assert not any(value in first.stdout for value in contents.values())
    subprocess.run(["bash", script], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == contents


@pytest.mark.parametrize("image", [service["image"] for service in compose()["services"].values()])
def test_images_are_pinned(image: str) -> None:
    assert re.search(r":v?(\d+\.\d+(\.\d+)?(-\w+)?|RELEASE\.[\dTZ-]+)$", image)


@pytest.mark.parametrize("path", sorted((INFRA / "docker").glob("*Dockerfile")), ids=lambda path: path.name)
def test_a_dockerfile_is_pinned_and_not_root(path: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", path.read_text("utf-8"))
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    stages: list[str] = []
    users: dict[str, str] = {}
    arguments = {f"${{{name}}}": value for name, value in re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE)}
    for instruction, rest in lines:
        assert instruction in {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD", "EXPOSE"}
        if instruction == "FROM":
            source, _, name = rest.partition(" AS ")
            for argument, value in arguments.items():
                source = source.replace(argument, value)
            assert source in stages or re.search(r":\d+\.\d+\.\d+-", source), source
            stages.append(name or path.name)
        elif instruction == "USER":
            users[stages[-1]] = rest
        elif instruction == "COPY":
            *sources, _ = rest.split()
            assert all((ROOT / one).exists() for one in sources), rest
        elif instruction == "ENV":
            assert not re.search(r"(PASSWORD|SECRET|TOKEN)=", rest)
        for install in re.findall(r"pip install[^&]*", rest):
            assert "==" in install or "-c constraints.txt" in install
        for install in re.findall(r"apt-get install[^&]*", rest):
            assert "--no-install-recommends" in install
    assert users[stages[-1]] == "1000:1000"  # what a build makes where no target is named
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    for package, version in re.findall(r"\b(torch|mlflow)==([\d.]+)", text):
        assert pins[package] == version
    allowed = (path.parent / f"{path.name}.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"  # nothing of the folder reaches the image that is not named


def test_the_cloud_cluster_is_one_that_ray_takes() -> None:
    tree = yaml.safe_load((INFRA / "ray/aws.yaml").read_text("utf-8"))
    rules = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(tree, rules)
    types = tree["available_node_types"]
    assert tree["head_node_type"] in types
    assert all(one["node_config"]["MetadataOptions"]["HttpTokens"] == "required" for one in types.values())
    assert all(
        "RAY_AUTH_MODE=token" in tree[name][-1] for name in ("head_start_ray_commands", "worker_start_ray_commands")
    )


# ---- monitoring

OTHERS = {"ray_data_operator_queued_blocks", "ray_serve_deployment_queued_queries", "up"}
"""Metrics of Ray's own, and Prometheus's."""


def expressions() -> dict[str, str]:
    found = {}
    rules = yaml.safe_load((INFRA / "monitoring/rules.yaml").read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            found[rule.get("record") or rule["alert"]] = rule["expr"]
    dashboard = json.loads((INFRA / "monitoring/grafana/manta.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        found |= {f"panel {panel['title']} {one['refId']}": one["expr"] for one in panel["targets"]}
    return found


EXPRESSIONS = expressions()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_reads_metrics_and_labels_that_there_are(name: str) -> None:
    expression = EXPRESSIONS[name]
    recorded = {one for one in EXPRESSIONS if ":" in one}
    ours = {f"ray_{one.name}{'_bucket' * (one.kind == 'histogram')}": {*one.labels, "le"} for one in METRICS}
    read = set(re.findall(r"\b(?:ray_\w+|manta:[\w:]+|up\b)", expression))
    assert read
    assert read <= set(ours) | OTHERS | recorded
    labels = set(re.findall(r"(\w+)=~?\"", expression))
    for by in re.findall(r"by \(([\w, ]+)\)", expression):
        labels |= set(by.replace(" ", "").split(","))
    known = set().union(*(ours.get(one, {"deployment", "operator", "job", "family", "task"}) for one in read))
    assert labels <= known
    assert all(expression.count(left) == expression.count(right) for left, right in ("()", "[]", "{}"))


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(text for name, text in EXPRESSIONS.items() if name.startswith("panel"))
    assert [one.name for one in METRICS if f"ray_{one.name}" not in shown] == []


def test_alerts_say_what_helps() -> None:
    rules = yaml.safe_load((INFRA / "monitoring/rules.yaml").read_text("utf-8"))
    for rule in rules["groups"][0]["rules"]:
        if "alert" in rule:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
            assert {"summary", "remedy"} == set(rule["annotations"])
        else:
            assert set(rule) == {"record", "expr"}


def test_the_dashboard_is_provisioned_where_it_is_mounted() -> None:
    mounts = dict(volume.split(":")[:2] for volume in compose()["services"]["grafana"]["volumes"])
    mounts = {Path(source).name: target for source, target in mounts.items()}
    providers = yaml.safe_load((INFRA / "monitoring/grafana/dashboards.yaml").read_text())["providers"]
    assert str(Path(mounts["manta.json"]).parent) == providers[0]["options"]["path"]
    dashboard = json.loads((INFRA / "monitoring/grafana/manta.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_no_python_lives_here() -> None:
    assert list(INFRA.rglob("*.py")) == []
