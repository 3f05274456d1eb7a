"""Faults that the checks must find. Each is planted into a correct render."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[list[dict]], list[str]]
# A check, a CI values file, the change of its objects, and a part of the expected problem.
Fault = tuple[Check, str, Callable[[list[dict]], object], str]


def get(objects: list[dict], kind: str, name: str = "") -> dict:
    """The first object of this kind whose name contains this part."""
    found = (each for each in objects if each["kind"] == kind)
    return next(each for each in found if name in each["metadata"]["name"])


def spec(objects: list[dict], kind: str = "Deployment") -> dict:
    """The spec of a Pod, or of the pods of a workload."""
    found = get(objects, kind)["spec"]
    return found["template"]["spec"] if "template" in found else found


def template(objects: list[dict]) -> dict:
    """The metadata of a Deployment's pods."""
    return get(objects, "Deployment")["spec"]["template"]["metadata"]


def first(objects: list[dict], kind: str = "Deployment") -> dict:
    """The first container."""
    return spec(objects, kind)["containers"][0]


def drop(mapping: dict, key: str) -> None:
    del mapping[key]


def setting(container: dict, name: str, value: str) -> None:
    next(each for each in container["env"] if each["name"] == name)["value"] = value
