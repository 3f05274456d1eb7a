"""Faults of selectors, references and NetworkPolicies."""

from __future__ import annotations

from checks import network, references, selectors
from planted import Fault, drop, first, get, setting, spec, template

FAULTS: tuple[Fault, ...] = (
    (
        selectors.found,
        "standalone",
        lambda o: get(o, "Service")["spec"].update(selector={"app": "x"}),
        "selects no",
    ),
    (
        selectors.found,
        "standalone",
        lambda o: drop(get(o, "Service")["spec"]["selector"], "app.kubernetes.io/component"),
        "selects the test pod",
    ),
    (
        selectors.found,
        "sidecar",
        lambda o: template(o).update(labels={}),
        "selects no",
    ),
    (
        selectors.ports,
        "standalone",
        lambda o: get(o, "Service")["spec"]["ports"][0].update(targetPort=9),
        "port 9",
    ),
    (
        selectors.ports,
        "sidecar",
        lambda o: get(o, "Service")["spec"]["ports"][0].update(targetPort="voxgate"),
        "port voxgate",
    ),
    (
        selectors.ports,
        "standalone",
        lambda o: get(o, "Service")["spec"]["ports"].append(
            {"name": "m", "targetPort": "voxgate-admin"}
        ),
        "clients and metrics",
    ),
    (
        selectors.ports,
        "service-monitor",
        lambda o: get(o, "ServiceMonitor")["spec"]["endpoints"][0].update(port="http"),
        "ServiceMonitor/",
    ),
    (
        selectors.ports,
        "pod-monitor",
        lambda o: get(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="x"),
        "PodMonitor/",
    ),
    (
        network.closed,
        "standalone",
        lambda o: drop(get(o, "NetworkPolicy")["spec"]["ingress"][0], "from"),
        "without peers",
    ),
    (
        network.closed,
        "standalone",
        lambda o: drop(get(o, "NetworkPolicy")["spec"]["egress"][1], "to"),
        "without peers",
    ),
    (
        network.closed,
        "standalone",
        lambda o: get(o, "NetworkPolicy")["spec"]["policyTypes"].pop(),
        "has the types",
    ),
    (
        network.closed,
        "lock-upstream",
        lambda o: get(o, "NetworkPolicy", "-upstream")["spec"]["policyTypes"].append("Egress"),
        "has the types",
    ),
    (
        network.closed,
        "lock-upstream",
        lambda o: get(o, "NetworkPolicy", "-upstream")["spec"].update(podSelector={}),
        "selects every pod",
    ),
    (
        network.reachable,
        "standalone",
        lambda o: get(o, "NetworkPolicy")["spec"]["ingress"].pop(0),
        "blocks clients",
    ),
    (
        network.reachable,
        "inject",
        lambda o: get(o, "NetworkPolicy")["spec"]["ingress"].pop(0),
        "blocks clients",
    ),
    (
        network.reachable,
        "lock-upstream",
        lambda o: setting(first(o), "VOXGATE_UPSTREAM", "http://a:9"),
        "ports [9]",
    ),
    (
        network.needed,
        "standalone",
        lambda o: get(o, "NetworkPolicy")["spec"]["egress"][0]["ports"].pop(0),
        "DNS over UDP",
    ),
    (
        network.needed,
        "redis",
        lambda o: get(o, "NetworkPolicy")["spec"]["egress"].pop(2),
        "port 6380",
    ),
    (
        network.needed,
        "audit-copies",
        lambda o: get(o, "NetworkPolicy")["spec"]["egress"].pop(2),
        "port 6514",
    ),
    (
        network.needed,
        "service-monitor",
        lambda o: get(o, "NetworkPolicy")["spec"]["ingress"].pop(1),
        "blocks Prometheus",
    ),
    (
        network.locked,
        "lock-upstream",
        lambda o: get(o, "NetworkPolicy", "-upstream")["spec"]["ingress"][0].update(
            {"from": [{"podSelector": {}}]}
        ),
        "unknown peers",
    ),
    (
        network.locked,
        "sidecar-full",
        lambda o: get(o, "NetworkPolicy", "-upstream")["spec"]["ingress"][0]["ports"].append(
            {"port": 8100}
        ),
        "server's ports [8100]",
    ),
    (
        references.kept,
        "standalone",
        lambda o: spec(o)["volumes"][0]["secret"].update(secretName="x"),
        "Secret x",
    ),
    (
        references.kept,
        "policy",
        lambda o: o.remove(get(o, "ConfigMap")),
        "ConfigMap rel-voxgate-policy",
    ),
    (
        references.kept,
        "audit-pvc",
        lambda o: o.remove(get(o, "PersistentVolumeClaim")),
        "PersistentVolumeClaim",
    ),
    (
        references.kept,
        "policy-existing",
        lambda o: spec(o)["volumes"][1]["configMap"]["items"][0].update(key="x"),
        "needs x",
    ),
    (
        references.kept,
        "image",
        lambda o: spec(o)["imagePullSecrets"][0].update(name="x"),
        "Secret x",
    ),
    (
        references.kept,
        "scheduling",
        lambda o: spec(o).update(serviceAccountName="x"),
        "ServiceAccount x",
    ),
    (
        references.kept,
        "scheduling",
        lambda o: spec(o).update(priorityClassName="x"),
        "PriorityClass x",
    ),
    (references.kept, "autoscaling", lambda o: o.remove(get(o, "Deployment")), "Deployment"),
    (references.kept, "ingress", lambda o: o.remove(get(o, "Service")), "Ingress/"),
    (
        references.kept,
        "ingress-secret",
        lambda o: spec(o, "Ingress")["tls"][0].update(secretName="x"),
        "Secret x",
    ),
    (
        references.kept,
        "httproute",
        lambda o: spec(o, "HTTPRoute")["parentRefs"][0].update(name="x"),
        "Gateway x",
    ),
    (
        references.kept,
        "gateway",
        lambda o: drop(get(o, "Gateway")["metadata"], "annotations"),
        "Secret rel-voxgate-tls",
    ),
    (references.kept, "httproute", lambda o: o.remove(get(o, "Service")), "HTTPRoute/"),
    (
        references.kept,
        "inject",
        lambda o: spec(o, "MutatingAdmissionPolicyBinding").update(policyName="x"),
        "Policy x",
    ),
    (
        references.mounts,
        "standalone",
        lambda o: spec(o).update(volumes=[]),
        "no volume voxgate-keys",
    ),
    (
        references.mounts,
        "standalone",
        lambda o: first(o).update(volumeMounts=[]),
        "no container mounts",
    ),
    (
        references.mounts,
        "standalone",
        lambda o: spec(o)["volumes"].append(spec(o)["volumes"][0]),
        "twice",
    ),
    (
        references.mounts,
        "standalone",
        lambda o: first(o)["volumeMounts"].append(first(o)["volumeMounts"][0]),
        "two mounts",
    ),
    (
        references.routed,
        "ingress",
        lambda o: get(o, "Service")["spec"]["ports"][0].update(name="x"),
        "Ingress/rel-voxgate goes to a port",
    ),
    (
        references.routed,
        "httproute",
        lambda o: get(o, "Service")["spec"]["ports"][0].update(port=1),
        "HTTPRoute/",
    ),
    (
        references.routed,
        "httproute",
        lambda o: drop(spec(o, "HTTPRoute")["rules"][0], "timeouts"),
        "time limit",
    ),
)
