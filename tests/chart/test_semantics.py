"""Checks of every render, and tests that each check finds its faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import chart
from chart import Case, cases
from checks import network, pods, references, secrets, selectors
from planted import Check
from planted import pods as planted_pods
from planted import wiring as planted_wiring

CHECKS: tuple[Check, ...] = (
    pods.admitted,
    pods.hardened,
    pods.probed,
    pods.ends_in_time,
    pods.updated_gently,
    selectors.found,
    selectors.ports,
    secrets.mounted,
    secrets.unhashed,
    network.closed,
    network.reachable,
    network.needed,
    network.locked,
    references.kept,
    references.mounts,
    references.routed,
)
PLANTED = (*planted_pods.FAULTS, *planted_wiring.FAULTS)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_no_check_finds_a_problem(case: Case) -> None:
    objects = chart.objects(case)
    assert [problem for check in CHECKS for problem in check(objects)] == []


@pytest.mark.parametrize(("check", "name", "plant", "said"), PLANTED)
def test_a_planted_fault_is_found(check: Check, name: str, plant: Callable, said: str) -> None:
    objects = chart.objects(chart.ci(name))
    assert check(objects) == []
    plant(objects)
    assert any(said in problem for problem in check(objects)), check(objects)


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, *_ in PLANTED} == set(CHECKS)
