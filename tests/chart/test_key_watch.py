"""Keys by watch: the rights of the ServiceAccount, and what the pod has."""

from __future__ import annotations

import pytest

import chart
from chart import NEWEST
from objects import env, gateways

ONE = ["--set", "keys.existingSecret=team-keys"]
BY_LABEL = ["--set", "keys.existingSecret=,keys.inline=,auth.mode=validate"]


def render(given: list[str]) -> list[dict]:
    watch = "keys.source=watch,serviceAccount.create=true,upstream.host=rime-api"
    return chart.parse(
        chart.template("4.2.3", NEWEST, [chart.CHART, "--set", watch, *given])
    )


@pytest.mark.parametrize(("given", "names"), ((ONE, ["team-keys"]), (BY_LABEL, None)))
def test_the_role_has_what_the_watch_needs_and_no_more(
    given: list[str], names: list[str] | None
) -> None:
    rendered = render(given)
    [role] = [each for each in rendered if each["kind"] == "Role"]
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}
    assert role["rules"] == [rule | ({"resourceNames": names} if names else {})]
    [binding] = [each for each in rendered if each["kind"] == "RoleBinding"]
    [account] = [each for each in rendered if each["kind"] == "ServiceAccount"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [each["name"] for each in binding["subjects"]] == [account["metadata"]["name"]]
    assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("given", (ONE, BY_LABEL))
def test_a_key_can_be_revoked_in_the_pod(given: list[str]) -> None:
    """The control socket needs no keys file."""
    [pod] = gateways(render(given))
    gateway = pod.gateway()
    variables = env(gateway)
    assert variables["VOXGATE_CONTROL_DIR"] == "/run/voxgate"
    assert "/run/voxgate" in [each["mountPath"] for each in gateway["volumeMounts"]]
    assert ("VOXGATE_KEYS_FILE" in variables) == (given is ONE)
