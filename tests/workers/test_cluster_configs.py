"""The files in configs/cluster/ are what Ray and Kubernetes take: names, types and what must be there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "configs/cluster"
FIELDS = json.loads(Path(__file__).with_name("kuberay_fields.json").read_text())
OBJECT = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {name: {} for name in ("apiVersion", "kind", "metadata", "spec")},
    "additionalProperties": False,
}


def documents(name: str) -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((CLUSTER / name).read_text())}


def check(document: dict[str, Any], spec: dict[str, Any]) -> None:
    jsonschema.validate(document, OBJECT)
    jsonschema.validate(document["spec"], {**spec, "$defs": FIELDS["$defs"]})


def test_ray_takes_the_file_for_a_cloud_with_gpu_nodes():
    pytest.importorskip("ray")
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"max_worker": 3}))
    head, gpu = config["available_node_types"]["head"], config["available_node_types"]["gpu"]
    assert head["resources"] == {"CPU": 0}
    assert gpu["min_workers"] == 0 < gpu["max_workers"]


def test_kubernetes_takes_the_job_and_the_clusters():
    job = documents("kuberay-job.yaml")["RayJob"]
    check(job, FIELDS["$defs"]["job"])
    check(documents("kubernetes-service.yaml")["RayCluster"], FIELDS["$defs"]["cluster"])
    job["spec"]["entryPoint"] = "a name that KubeRay does not know"
    with pytest.raises(jsonschema.ValidationError):
        check(job, FIELDS["$defs"]["job"])


def test_kubernetes_takes_the_service_and_its_parts_find_each_other():
    parts = documents("kubernetes-service.yaml")
    deployment, service, claim = parts["Deployment"], parts["Service"], parts["PersistentVolumeClaim"]
    fields = ("replicas", "strategy", "selector")
    spec = {
        "required": ["selector", "template"],
        "properties": {name: {} for name in fields} | {"template": FIELDS["$defs"]["pod"]},
        "additionalProperties": False,
    }
    check(deployment, spec)
    check(service, {"required": ["ports", "selector"]})
    check(claim, {"required": ["accessModes", "resources"]})
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {port["name"] for port in container["ports"]} == {port["targetPort"] for port in service["spec"]["ports"]}
    # the name that KubeRay gives to the head of a cluster
    assert f"http://{parts['RayCluster']['metadata']['name']}-head-svc:8265" in container["command"]


@pytest.mark.parametrize("name", ["kuberay-job.yaml", "kubernetes-service.yaml"])
def test_every_pod_sees_the_same_shared_folder(name):
    def pods(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [pod for each in value for pod in pods(each)]
        if not isinstance(value, dict):
            return []
        return [value] * ("containers" in value) + [pod for each in value.values() for pod in pods(each)]

    found = pods(list(documents(name).values()))
    assert len(found) == {"kuberay-job.yaml": 2, "kubernetes-service.yaml": 3}[name]
    for pod in found:
        [mount] = pod["containers"][0]["volumeMounts"]
        [volume] = pod["volumes"]
        assert mount == {"name": volume["name"], "mountPath": "/shared"}
        assert volume["persistentVolumeClaim"] == {"claimName": "slt-shared"}


def test_the_commands_in_the_manifests_are_commands_of_slt(tmp_path):
    from workers.cli import app

    entrypoint = shlex.split(documents("kuberay-job.yaml")["RayJob"]["spec"]["entrypoint"])
    [container] = documents("kubernetes-service.yaml")["Deployment"]["spec"]["template"]["spec"]["containers"]
    for command in (entrypoint, container["command"]):
        assert command[0] == "slt"
        options = [word for word in command if word.startswith("--")]
        shown = CliRunner().invoke(app, [command[1], "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
        assert [option for option in options if option not in shown] == []
