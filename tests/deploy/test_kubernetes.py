"""deploy/kubernetes against Kubernetes' own schemas, and against itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
# An older and a newer release.
VERSIONS = ("1.30", "1.37")
MANIFESTS = ("namespace.yaml", "worker.yaml")


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def pod() -> dict[str, Any]:
    found: dict[str, Any] = load("worker.yaml")["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_each_manifest_is_what_kubernetes_takes(name: str, version: str) -> None:
    kubernetes_validate.validate(load(name), version, strict=True)


def test_a_field_that_is_not_known_would_be_found() -> None:
    wrong = load("worker.yaml")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 15
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("folder", [".", "gpu"])
def test_a_kustomization_names_files_and_images_that_are_there(folder: str) -> None:
    found = load(f"{folder}/kustomization.yaml")
    known = {
        "apiVersion", "kind", "namespace", "resources", "images", "secretGenerator", "patches"
    }  # fmt: skip
    assert set(found) <= known
    assert (found["apiVersion"], found["kind"]) == (
        "kustomize.config.k8s.io/v1beta1", "Kustomization",
    )  # fmt: skip
    named = [*found["resources"], *(each["path"] for each in found.get("patches", []))]
    assert all((FOLDER / folder / each).exists() for each in named)
    used = {each["image"] for each in pod()["containers"]}
    assert {each["name"] for each in found["images"]} == used


def test_the_token_is_a_file_of_a_secret_that_the_kustomization_makes() -> None:
    (made,) = load("kustomization.yaml")["secretGenerator"]
    (volume,) = [each for each in pod()["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == made["name"]
    (container,) = pod()["containers"]
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    variables = {each["name"]: each["value"] for each in container["env"]}
    (file,) = made["files"]
    assert variables["MUSTER_JOIN"] == f"{mounted[volume['name']]}/{file}"
    ignored = (FOLDER.parents[1] / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/deploy/kubernetes/token" in ignored


def test_workers_are_not_root_and_have_time_to_give_their_trial_back() -> None:
    assert pod()["terminationGracePeriodSeconds"] >= 15
    assert pod()["securityContext"]["runAsNonRoot"]
    (container,) = pod()["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_gpu_patch_changes_the_worker_that_is_there() -> None:
    patch, worker = load("gpu/gpu.yaml"), load("worker.yaml")
    assert patch["metadata"] == {"name": worker["metadata"]["name"]}
    (patched,) = patch["spec"]["template"]["spec"]["containers"]
    assert patched["name"] == pod()["containers"][0]["name"]
    assert patched["resources"]["limits"]["nvidia.com/gpu"] == 1
    worker["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = patched[
        "resources"
    ]["limits"]
    kubernetes_validate.validate(worker, VERSIONS[-1], strict=True)
