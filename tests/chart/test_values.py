"""Effects of single values that no check of all cases covers."""

from __future__ import annotations

import pytest

import chart
from chart import ci
from objects import env, gateways, of_kind


@pytest.mark.parametrize("name", ("inject", "inject-full"))
def test_a_labelled_pod_does_not_start_without_its_sidecar(name: str) -> None:
    [policy] = of_kind(chart.objects(ci(name)), "MutatingAdmissionPolicy")
    assert policy["spec"]["failurePolicy"] == "Fail"


def test_records_outlive_the_release() -> None:
    [claim] = of_kind(chart.objects(ci("audit-pvc")), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_pods_that_share_a_claim_have_separate_logs() -> None:
    [pod] = gateways(chart.objects(ci("audit-pvc")))
    container = pod.gateway()
    assert env(container)["VOXGATE_AUDIT_DIR"] == "/var/lib/voxgate/audit/$(POD_NAME)"
    # A reference is resolved only to an earlier variable.
    assert container["env"][0]["name"] == "POD_NAME"
    assert container["env"][0]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize(
    ("name", "has_socket"),
    (("standalone", True), ("sidecar", True), ("inline-keys", False), ("preconfigured", False)),
)
def test_a_gateway_with_a_keys_file_can_be_told_to_revoke(name: str, has_socket: bool) -> None:
    [pod] = gateways(chart.objects(ci(name)))
    container = pod.gateway()
    directory = env(container).get("VOXGATE_CONTROL_DIR")
    assert directory == ("/run/voxgate" if has_socket else None)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert (directory in mounts) == has_socket
    assert not mounts.get(directory, {}).get("readOnly")


@pytest.mark.parametrize(
    ("name", "expected"),
    (
        ("standalone", ["401"]),
        ("helm-test", ["401", "success"]),
        ("preconfigured", ["success"]),
        ("sidecar", ["401"]),
        ("inject", ["401"]),
    ),
)
def test_helm_test_expects_the_status_of_the_mode(name: str, expected: list[str]) -> None:
    [pod] = of_kind(chart.objects(ci(name)), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    asked = [each["args"] for each in pod["spec"]["containers"]]
    assert [each[each.index("--expect") + 1] for each in asked] == expected
    assert ["--key-file" in each for each in asked] == [
        each == "success" and name == "helm-test" for each in expected
    ]


def test_pods_that_are_not_ready_are_monitored() -> None:
    services = of_kind(chart.objects(ci("service-monitor")), "Service")
    [admin] = [each for each in services if each["metadata"]["name"].endswith("-admin")]
    assert admin["spec"]["publishNotReadyAddresses"] is True
    assert admin["spec"]["clusterIP"] == "None"


def test_pods_are_removed_one_at_a_time() -> None:
    [scaler] = of_kind(chart.objects(ci("autoscaling")), "HorizontalPodAutoscaler")
    down = scaler["spec"]["behavior"]["scaleDown"]
    assert (down["selectPolicy"], len(down["policies"])) == ("Min", 1)


SETTINGS = {
    "timeouts.connectSeconds": ("11", "VOXGATE_CONNECT_TIMEOUT_SECONDS"),
    "timeouts.upstreamSeconds": ("12", "VOXGATE_UPSTREAM_TIMEOUT_SECONDS"),
    "timeouts.headerReadSeconds": ("13", "VOXGATE_HEADER_READ_TIMEOUT_SECONDS"),
    # Zero is no limit.
    "timeouts.upstreamIdleSeconds": ("0", "VOXGATE_UPSTREAM_IDLE_TIMEOUT_SECONDS"),
    "timeouts.tunnelIdleSeconds": ("31", "VOXGATE_TUNNEL_IDLE_TIMEOUT_SECONDS"),
    "timeouts.requestSeconds": ("32", "VOXGATE_REQUEST_TIMEOUT_SECONDS"),
    "timeouts.clientIdleSeconds": ("33", "VOXGATE_CLIENT_IDLE_TIMEOUT_SECONDS"),
    "upstream.resolveSeconds": ("34", "VOXGATE_UPSTREAM_RESOLVE_SECONDS"),
    "upstream.connectionAgeSeconds": ("0", "VOXGATE_UPSTREAM_CONNECTION_AGE_SECONDS"),
    "upstream.health": ("GET /health", "VOXGATE_UPSTREAM_HEALTH"),
    "headers.forwarded": ("on", "VOXGATE_FORWARDED"),
    "traces.serviceName": ("tts-edge", "OTEL_SERVICE_NAME"),
    "traces.sampler": ("always_off", "OTEL_TRACES_SAMPLER"),
    "headers.via": ("door", "VOXGATE_VIA"),
    "speech.bodyInspectKiB": ("14", "VOXGATE_BODY_INSPECT_KIB"),
    "speech.bodyHeldMiB": ("15", "VOXGATE_BODY_HELD_MIB"),
    "shutdown.drainSeconds": ("14", "VOXGATE_DRAIN_SECONDS"),
    "log.filter": ("debug", "VOXGATE_LOG"),
    "log.format": ("text", "VOXGATE_LOG_FORMAT"),
    "limits.rate": ("15/s", "VOXGATE_LIMIT_RATE"),
    "limits.burst": ("16", "VOXGATE_LIMIT_BURST"),
    "limits.concurrency": ("17", "VOXGATE_LIMIT_CONCURRENCY"),
    "limits.upstreamConcurrency": ("18", "VOXGATE_LIMIT_UPSTREAM_CONCURRENCY"),
    "limits.queue": ("19", "VOXGATE_LIMIT_QUEUE"),
    "limits.queueTimeoutSeconds": ("20", "VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS"),
    "filterLists": ("on", "VOXGATE_FILTER_LISTS"),
    "limits.headers": ("off", "VOXGATE_LIMIT_HEADERS"),
    "limits.loadReport": ("on", "VOXGATE_LIMIT_LOAD_REPORT"),
    # Zero is different from unset.
    "limits.authFailures": ("0", "VOXGATE_LIMIT_AUTH_FAILURES"),
    "limits.onFailure": ("deny", "VOXGATE_LIMIT_ON_FAILURE"),
    "limits.leaseSeconds": ("21", "VOXGATE_LIMIT_LEASE_SECONDS"),
    "limits.namespace": ("door", "VOXGATE_LIMIT_NAMESPACE"),
}


@pytest.mark.parametrize("version", chart.HELMS)
def test_a_value_sets_the_setting_of_its_name(version: str) -> None:
    given = [part for key, (value, _) in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    values = [chart.CHART, "--values", ci("redis").files[0]]
    [pod] = gateways(chart.parse(chart.template(version, chart.NEWEST, [*values, *given])))
    found = env(pod.gateway())
    assert {name: found.get(name) for _, name in SETTINGS.values()} == {
        name: value for value, name in SETTINGS.values()
    }


def test_every_object_has_the_common_annotations_and_pods_do_not() -> None:
    objects = chart.objects(ci("annotations"))
    assert len({each["kind"] for each in objects}) >= 14
    for each in objects:
        found = each["metadata"]["annotations"]
        assert found["company.example/owner"] == "voice", each["kind"]
        # Those of a single object come first.
        assert found["company.example/note"] == (
            "of the Deployment" if each["kind"] == "Deployment" else 'a "quoted" note'
        )
    by_kind = {each["kind"]: each["metadata"]["annotations"] for each in objects}
    assert by_kind["PersistentVolumeClaim"]["helm.sh/resource-policy"] == "keep"
    assert by_kind["ServiceAccount"]["company.example/role"] == "gateway"
    assert by_kind["Ingress"]["cert-manager.io/issuer"] == "letsencrypt"
    assert by_kind["Gateway"]["cert-manager.io/issuer"] == "letsencrypt"
    assert by_kind["Pod"]["helm.sh/hook"] == "test"
    [pod] = gateways(objects)
    assert "company.example/owner" not in pod.metadata["annotations"]
    given = [*chart.arguments(ci("inject")), *ci("inject").cluster]
    given += ["--set", "commonAnnotations.company\\.example/owner=voice"]
    for each in chart.parse(chart.template("4.2.3", chart.NEWEST, given)):
        assert each["metadata"]["annotations"]["company.example/owner"] == "voice", each["kind"]


def test_the_test_pod_has_its_annotations_labels_and_resources() -> None:
    values = chart.read(ci("annotations").files[0])["test"]
    [pod] = of_kind(chart.objects(ci("annotations")), "Pod")
    assert pod["metadata"]["annotations"]["linkerd.io/inject"] == "disabled"
    assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "test"
    for container in pod["spec"]["containers"]:
        assert container["resources"] == values["resources"]


def test_files_of_other_systems_replace_secrets() -> None:
    objects = chart.objects(ci("keys-file"))
    [pod] = gateways(objects)
    found = env(pod.gateway())
    assert found["VOXGATE_KEYS_FILE"] == "/mnt/keys/keys.toml"
    assert found["RIME_API_KEY_FILE"] == "/mnt/keys/rime-key"
    assert not any("secret" in each for each in pod.spec["volumes"])
    # A list of keys has another setting; a gateway that asks for no key gets no keys.
    for given, expected in (
        ("keys.format=list", {"VOXGATE_API_KEYS_FILE": "/mnt/keys/keys.toml"}),
        ("auth.mode=preconfigured", {}),
    ):
        values = [*chart.arguments(ci("keys-file")), "--set", given]
        [pod] = gateways(chart.parse(chart.template("4.2.3", chart.NEWEST, values)))
        keys = {name: text for name, text in env(pod.gateway()).items() if "KEYS_FILE" in name}
        assert keys == expected


@pytest.mark.parametrize(
    "settings",
    (
        "replicaCount=1",
        "autoscaling.enabled=true,autoscaling.minReplicas=1,autoscaling.maxReplicas=1",
        "limits.perReplica=true",
        "redis.existingSecret=limits-redis",
        "mode=inject",
    ),
)
def test_limits_of_one_replica_and_shared_limits_are_accepted(settings: str) -> None:
    """wrong/ has those that are refused."""
    limits = "limits.rate=5/s,limits.concurrency=3,limits.upstreamConcurrency=4"
    base = ci("inject") if settings == "mode=inject" else ci("standalone")
    given = [*chart.arguments(base), *base.cluster, "--set", f"{limits},{settings}"]
    [pod, *_] = gateways(chart.parse(chart.template("4.2.3", chart.NEWEST, given)))
    assert env(pod.gateway())["VOXGATE_LIMIT_RATE"] == "5/s"


def test_a_digest_takes_precedence_over_a_tag() -> None:
    [pod] = gateways(chart.objects(ci("image")))
    values = chart.read(ci("image").files[0])["image"]
    assert pod.gateway()["image"] == f"{values['repository']}@{values['digest']}"


@pytest.mark.parametrize("kind", ("clusterIssuer", "issuer"))
def test_the_issuer_is_set_for_cert_manager(kind: str) -> None:
    names = {"clusterIssuer": "cert-manager.io/cluster-issuer", "issuer": "cert-manager.io/issuer"}
    given = ["--set", f"ingress.tls.clusterIssuer=,ingress.tls.issuer=,ingress.tls.{kind}=ours"]
    values = ["--values", ci("ingress").files[0]]
    objects = chart.parse(chart.template("4.2.3", chart.NEWEST, [chart.CHART, *values, *given]))
    [ingress] = of_kind(objects, "Ingress")
    told = {
        key: value
        for key, value in ingress["metadata"]["annotations"].items()
        if key in names.values()
    }
    assert told == {names[kind]: "ours"}
