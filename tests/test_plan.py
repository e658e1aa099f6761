"""The plan on disk, and the digest that proves that two engines were given the same load."""

import dataclasses

import numpy as np
import pytest

from loadgen.plan import Plan, load_plan

COLUMNS = ("due_ns", "after", "think_ns", "input_tokens", "output_tokens", "label")


def plan(n=5, **changes):
    columns = {name: np.arange(n, dtype=np.int64) * (k + 1) for k, name in enumerate(COLUMNS)}
    scalars = {"labels": ("s2s", "s2l"), "in_flight_max": 3, "stop_ns": 4, "drain_ns": 5, "seed": 6}
    return Plan(**(columns | scalars | changes))


@pytest.mark.parametrize("n", [0, 1, 5000])
def test_saved_and_loaded_it_is_the_same(tmp_path, n):
    before = plan(n)
    before.save(tmp_path / "plan.arrow")
    after = load_plan(tmp_path / "plan.arrow")
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert getattr(after, name).dtype == np.int64
    for name in ("labels", "in_flight_max", "stop_ns", "drain_ns", "seed", "digest"):
        assert getattr(before, name) == getattr(after, name)
    assert len(after) == n


def test_a_loaded_plan_outlives_its_file(tmp_path):
    path = tmp_path / "plan.arrow"
    plan().save(path)
    loaded = load_plan(path)
    path.unlink()
    assert loaded.digest == plan().digest


@pytest.mark.parametrize("name", COLUMNS)
def test_digest_changes_with_any_number_of_any_column(name):
    column = getattr(plan(), name).copy()
    column[3] += 1
    assert plan(**{name: column}).digest != plan().digest


def test_digest_changes_with_what_limits_the_load():
    others = [plan(labels=("s2s", "l2s")), plan(in_flight_max=9), plan(stop_ns=9), plan(4)]
    assert len({plan().digest, *(other.digest for other in others)}) == 5


def test_digest_does_not_depend_on_the_layout_in_memory():
    strided = plan(due_ns=np.repeat(np.arange(5), 2)[::2])
    assert strided.digest == plan().digest


def test_the_same_numbers_in_other_columns_are_another_plan():
    swapped = dataclasses.replace(plan(), input_tokens=plan().output_tokens, output_tokens=plan().input_tokens)
    assert swapped.digest != plan().digest
