"""Applies admission policies like the API server: evaluates their CEL, and applies the patches.

celpy evaluates CEL. This file adds the types of the API server: `JSONPatch` and `Object.…`, whose
names must be the path of their field (KEP-3962)."""

from __future__ import annotations

import copy
import json
import re

import celpy
import jsonpatch
from celpy import celtypes

TYPE = re.compile(r"\b(JSONPatch|Object(?:\.\w+)+)\{")


class Misplaced(Exception):
    """A typed object is at a path at which the API server would refuse it."""


class Typed(celtypes.MapType):
    """An object with the name of its type."""

    type_name = ""


def _types(expression: str) -> dict[str, type[Typed]]:
    names = set(TYPE.findall(expression))
    return {flat(name): type(flat(name), (Typed,), {"type_name": name}) for name in names}


def flat(name: str) -> str:
    """celpy reads a dotted name as the field of a variable. A name without dots is a type."""
    return name.replace(".", "_")


def evaluate(expression: str, pod: dict, **more: object) -> object:
    """The value of an expression about `object`. Raises the error of the expression."""
    types = _types(expression)
    text = TYPE.sub(lambda match: flat(match[1]) + "{", expression)
    environment = celpy.Environment(annotations=dict(types))
    program = environment.program(environment.compile(text))
    return program.evaluate({"object": celpy.json_to_cel(pod), **more})


def plain(value: object, path: str) -> object:
    """The JSON of a value for the field at `path`, if its types match this field."""
    if isinstance(value, celpy.CELEvalError):
        raise value
    if isinstance(value, Typed) and value.type_name != path:
        raise Misplaced(f"{value.type_name} at {path}")
    if isinstance(value, celtypes.MapType):
        return {str(key): plain(field, f"{path}.{key}") for key, field in value.items()}
    if isinstance(value, list):
        return [plain(item, path) for item in value]
    if isinstance(value, celtypes.BoolType):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    return str(value)


def field_of(pointer: str) -> str:
    """The type of a path: `Object.spec.volumes` for `/spec/volumes/-`."""
    parts = [part for part in pointer.split("/") if part and part != "-" and not part.isdigit()]
    return ".".join(["Object", *parts])


def patch(expression: str, pod: dict) -> list[dict]:
    operations = []
    for each in evaluate(expression, pod):
        pointer = str(each["path"])
        value = plain(each["value"], field_of(pointer))
        operations.append({"op": str(each["op"]), "path": pointer, "value": value})
    return operations


def admit(policy: dict, pod: dict) -> dict:
    """The pod as it is stored. If the policy matches, its mutations are applied in order."""
    spec = policy["spec"]
    wanted = spec["matchConstraints"]["objectSelector"]["matchLabels"]
    labels = pod["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return pod
    if not all(bool(evaluate(each["expression"], pod)) for each in spec["matchConditions"]):
        return pod
    pod = copy.deepcopy(pod)
    for mutation in spec["mutations"]:
        pod = jsonpatch.apply_patch(pod, patch(mutation["jsonPatch"]["expression"], pod))
        # Between two mutations, the API server removes empty lists and maps.
        pod["spec"] = {key: value for key, value in pod["spec"].items() if value != []}
    return pod


def refusals(policy: dict, pod: dict, old: dict | None = None) -> list[str]:
    """The messages of a ValidatingAdmissionPolicy for a pod that is created, or updated from `old`.
    An expression that fails refuses the pod, as `failurePolicy: Fail` does."""
    spec = policy["spec"]
    assert spec["failurePolicy"] == "Fail"
    wanted = spec["matchConstraints"]["objectSelector"]["matchLabels"]
    found = [each["metadata"].get("labels", {}) for each in (pod, old) if each]
    if not any(wanted.items() <= labels.items() for labels in found):
        return []
    context = {
        "oldObject": celpy.json_to_cel(old),
        "request": celpy.json_to_cel({"operation": "UPDATE" if old else "CREATE"}),
    }
    for condition in spec["matchConditions"]:
        if not evaluate(condition["expression"], pod, **context):
            return []
    variables = celtypes.MapType()
    for each in spec["variables"]:
        name = celtypes.StringType(each["name"])
        variables[name] = evaluate(each["expression"], pod, variables=variables, **context)
    said = []
    for each in spec["validations"]:
        try:
            allowed = evaluate(each["expression"], pod, variables=variables, **context)
        except celpy.CELEvalError as error:
            said.append(f"{each['message']} ({error})")
            continue
        if not allowed:
            said.append(each["message"])
    return said


def samples(policy: dict) -> list[dict]:
    """Labelled pods: a minimal one, and one with all fields that the patch affects."""
    labels = policy["spec"]["matchConstraints"]["objectSelector"]["matchLabels"]
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    server = {"name": "tts", "image": "tts:1", "securityContext": restricted}
    # The API server has set these defaults before.
    defaults = {"terminationGracePeriodSeconds": 30, "securityContext": {}}
    bare = {"containers": [server], **defaults}
    rich = {
        "containers": [server],
        "initContainers": [{**server, "name": "fetch-model"}],
        "volumes": [{"name": "model", "emptyDir": {}}],
        "securityContext": {"fsGroup": 1000},
        "terminationGracePeriodSeconds": 3600,
    }
    made = [("bare", bare), ("rich", rich)]
    return json.loads(
        json.dumps(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "labels": labels},
                    "spec": spec,
                }
                for name, spec in made
            ]
        )
    )
