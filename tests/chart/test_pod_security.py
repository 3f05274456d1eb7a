"""The check of Pod Security `restricted` refuses the same pods as the admission controller. Each
pod here is valid except for one change."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from checks.pod_security import problems

RIGHT = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


def pod(spec: dict) -> dict:
    return spec["securityContext"]


def container(spec: dict) -> dict:
    return spec["containers"][0]


def context(spec: dict) -> dict:
    return container(spec)["securityContext"]


WRONG: dict[str, Callable[[dict], object]] = {
    "hostNetwork": lambda s: s.update(hostNetwork=True),
    "hostPID": lambda s: s.update(hostPID=True),
    "hostIPC": lambda s: s.update(hostIPC=True),
    "is a hostPath": lambda s: s.update(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    "is a nfs": lambda s: s.update(volumes=[{"name": "v", "nfs": {}}]),
    "sysctl": lambda s: pod(s).update(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    "runAsUser is 0": lambda s: pod(s).update(runAsUser=0),
    "c: runAsUser is 0": lambda s: context(s).update(runAsUser=0),
    "c: runAsNonRoot": lambda s: context(s).update(runAsNonRoot=False),
    "runAsNonRoot": lambda s: pod(s).pop("runAsNonRoot"),
    "c: privileged": lambda s: context(s).update(privileged=True),
    "allowPrivilegeEscalation": lambda s: context(s).pop("allowPrivilegeEscalation"),
    "procMount": lambda s: context(s).update(procMount="Unmasked"),
    "does not drop": lambda s: context(s)["capabilities"].update(drop=["NET_RAW"]),
    "adds capabilities": lambda s: context(s)["capabilities"].update(add=["SYS_TIME"]),
    "seccompProfile is None": lambda s: pod(s).pop("seccompProfile"),
    "seccompProfile is Unconfined": lambda s: context(s).update(
        seccompProfile={"type": "Unconfined"}
    ),
    "hostPort": lambda s: container(s).update(ports=[{"containerPort": 1, "hostPort": 1}]),
    "seLinuxOptions": lambda s: pod(s).update(seLinuxOptions={"type": "spc_t"}),
    "c: seLinuxOptions": lambda s: context(s).update(seLinuxOptions={"user": "root"}),
    "appArmorProfile": lambda s: context(s).update(appArmorProfile={"type": "Unconfined"}),
    "hostProcess": lambda s: pod(s).update(windowsOptions={"hostProcess": True}),
    "livenessProbe": lambda s: container(s).update(
        livenessProbe={"httpGet": {"host": "h", "port": 1}}
    ),
    "preStop": lambda s: container(s).update(
        lifecycle={"preStop": {"tcpSocket": {"host": "h", "port": 1}}}
    ),
    "container i": lambda s: s.update(initContainers=[{"name": "i"}]),
    "container e": lambda s: s.update(ephemeralContainers=[{"name": "e"}]),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_pod_is_refused(said: str) -> None:
    spec = copy.deepcopy(RIGHT)
    assert problems({}, spec) == []
    WRONG[said](spec)
    assert any(said in each for each in problems({}, spec)), problems({}, spec)


def test_an_annotation_for_apparmor_is_read() -> None:
    annotation = "container.apparmor.security.beta.kubernetes.io/c"
    assert problems({"annotations": {annotation: "unconfined"}}, RIGHT)
    assert problems({"annotations": {annotation: "runtime/default"}}, RIGHT) == []


def test_allowed_pods_are_accepted() -> None:
    spec = copy.deepcopy(RIGHT)
    pod(spec).update(
        runAsUser=1000,
        sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1"}],
        seLinuxOptions={"type": "container_t", "level": "s0:c1"},
    )
    context(spec)["capabilities"]["add"] = ["NET_BIND_SERVICE"]
    context(spec).update(procMount="Default", appArmorProfile={"type": "RuntimeDefault"})
    container(spec).update(livenessProbe={"httpGet": {"port": 1}}, ports=[{"containerPort": 1}])
    spec["volumes"] = [{"name": "a"}, {"name": "b", "emptyDir": {}}, {"name": "c", "csi": {}}]
    assert problems({}, spec) == []
