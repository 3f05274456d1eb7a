"""Faults of pods and their secrets."""

from __future__ import annotations

from checks import pods, secrets
from planted import Fault, drop, first, get, setting, spec, template

FAULTS: tuple[Fault, ...] = (
    (
        pods.admitted,
        "standalone",
        lambda o: first(o)["securityContext"].update(privileged=True),
        "privileged",
    ),
    (
        pods.admitted,
        "helm-test",
        lambda o: drop(first(o, "Pod"), "securityContext"),
        "does not drop ALL",
    ),
    (
        pods.hardened,
        "standalone",
        lambda o: drop(spec(o), "automountServiceAccountToken"),
        "mounts a token",
    ),
    (
        pods.hardened,
        "standalone",
        lambda o: spec(o, "Pod").update(enableServiceLinks=True),
        "service links",
    ),
    (
        pods.hardened,
        "standalone",
        lambda o: spec(o)["securityContext"].update(fsGroup=1000),
        "not the gateway's",
    ),
    (pods.hardened, "standalone", lambda o: drop(first(o), "resources"), "requests no resources"),
    (
        pods.hardened,
        "standalone",
        lambda o: first(o)["securityContext"].update(readOnlyRootFilesystem=False),
        "write",
    ),
    (
        pods.hardened,
        "standalone",
        lambda o: first(o)["securityContext"].update(runAsUser=1000),
        "65532",
    ),
    (
        pods.hardened,
        "standalone",
        lambda o: first(o).update(image="registry:5000/voxgate"),
        "neither tag",
    ),
    (
        pods.probed,
        "standalone",
        lambda o: first(o)["livenessProbe"]["httpGet"].update(port="voxgate"),
        "livenessProbe",
    ),
    (pods.probed, "standalone", lambda o: drop(first(o), "readinessProbe"), "readinessProbe"),
    (
        pods.probed,
        "standalone",
        lambda o: setting(first(o), "VOXGATE_LISTEN", "0.0.0.0:1"),
        "not the port voxgate",
    ),
    (
        pods.ends_in_time,
        "standalone",
        lambda o: spec(o).update(terminationGracePeriodSeconds=35),
        "grace of 35 s",
    ),
    (
        pods.updated_gently,
        "autoscaling",
        lambda o: get(o, "Deployment")["spec"].update(replicas=2),
        "an autoscaler",
    ),
    (
        pods.updated_gently,
        "standalone",
        lambda o: get(o, "Deployment")["spec"]["strategy"]["rollingUpdate"].update(
            maxUnavailable=1
        ),
        "removes pods",
    ),
    (
        pods.updated_gently,
        "standalone",
        lambda o: get(o, "Deployment")["spec"].update(strategy={"type": "Recreate"}),
        "removes pods",
    ),
    (
        pods.updated_gently,
        "autoscaling",
        lambda o: drop(get(o, "HorizontalPodAutoscaler")["spec"]["behavior"], "scaleDown"),
        "scales down fast",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: first(o)["volumeMounts"][0].update(subPath="keys.toml"),
        "subPath",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: first(o)["volumeMounts"][0].update(readOnly=False),
        "can be written",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: drop(spec(o)["volumes"][0]["secret"], "defaultMode"),
        "has mode 644",
    ),
    (
        secrets.mounted,
        "sidecar",
        lambda o: drop(spec(o)["securityContext"], "fsGroup"),
        "no fsGroup",
    ),
    (
        secrets.mounted,
        "sidecar-full",
        lambda o: first(o).update(volumeMounts=[{"name": "voxgate-keys", "mountPath": "/k"}]),
        "mounted by",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: first(o)["env"].append({"name": "K", "valueFrom": {"secretKeyRef": {}}}),
        "K contains a secret",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: first(o).update(envFrom=[{"secretRef": {}}]),
        "contains a secret",
    ),
    (
        secrets.unhashed,
        "inline-keys",
        lambda o: template(o)["annotations"].update({"checksum/keys": "x"}),
        "checksum/keys",
    ),
    (
        secrets.unhashed,
        "sidecar",
        lambda o: drop(template(o), "annotations"),
        "checksums []",
    ),
)
