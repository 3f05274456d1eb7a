"""Faults, each planted into a render that is right, which the checks have to find."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[list[dict]], list[str]]
# A check, a CI values file, what is done to its objects, and what is said of it.
Fault = tuple[Check, str, Callable[[list[dict]], object], str]


def get(objects: list[dict], kind: str, name: str = "") -> dict:
    """The first object of a kind whose name has that part."""
    found = (each for each in objects if each["kind"] == kind)
    return next(each for each in found if name in each["metadata"]["name"])


def spec(objects: list[dict], kind: str = "Deployment") -> dict:
    """Of what makes pods, the pods' own."""
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
