"""A schedule as a Kubernetes CronJob that sends the run to a Ray cluster, with the config file in a ConfigMap.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from jobs.arguments import KubernetesArguments, ScheduleArguments
from stages.errors import UsageError

MOUNT = "/etc/manta"
_LATE_S = 3600
"""How late a tick may still start; the controller gives up counting at 100 missed ones, a minute apart."""
_GRACE_S = 90
"""Time for ``manta submit --stop-on-interrupt`` to end the job, which gets 30 s."""
_USER = 1000


def manifest(path: str, words: Sequence[str], schedule: ScheduleArguments, kubernetes: KubernetesArguments) -> str:
    """YAML of a ConfigMap with the file at ``path`` and of a CronJob that submits ``words`` (``run …``, which name the
    file as ``MOUNT/NAME``). Raises UsageError for what Kubernetes cannot do."""
    if len(schedule.cron.split()) != 5:
        raise UsageError("a CronJob's cron has five fields and no seconds: take the first one out of schedule.cron")
    name = kubernetes.name or f"manta-{Path(path).stem}"
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", name):
        raise UsageError(f"kubernetes.name must be of a-z, 0-9 and -, at most 52 long, not {name!r}")
    metadata: dict[str, object] = {"name": name, "labels": {"app.kubernetes.io/name": "manta", "manta/schedule": name}}
    if kubernetes.namespace:
        metadata["namespace"] = kubernetes.namespace
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {Path(path).name: Path(path).read_text("utf-8")},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _LATE_S,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": _pod(name, words, kubernetes)}},
        },
    }
    text: str = yaml.dump_all([config, job], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _pod(name: str, words: Sequence[str], kubernetes: KubernetesArguments) -> dict[str, object]:
    submit = ["submit", "--address", kubernetes.address, "--no-pack", "--stop-on-interrupt", "--", *words]
    secret = {"name": kubernetes.token_secret, "key": "auth_token"}
    container = {
        "name": "submit",
        "image": kubernetes.image,
        "command": ["manta"],
        "args": submit,
        "env": [
            {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": secret}},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - an emptyDir, see below
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    return {
        "metadata": {"labels": {"app.kubernetes.io/name": "manta", "app.kubernetes.io/component": "submit"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": _GRACE_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": name}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Lists set in, as manifests are written; files as blocks of lines; nothing by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
