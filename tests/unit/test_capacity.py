"""The capacity model: Erlang's formula against hand-worked numbers, and against a simulation."""

import json

import pytest

from diffusiontalker.benchmarks import capacity
from diffusiontalker.config import CapacityBenchmarkSettings
from diffusiontalker.errors import UserError


@pytest.mark.parametrize(
    ("load", "places", "share"),
    # By hand: (a^n / n!) / sum of a^k / k!. The last two are of Erlang's published tables.
    [(1, 1, 1 / 2), (1, 2, 1 / 5), (2, 2, 2 / 5), (3, 3, 9 / 26), (4.46, 10, 0.01),
     (84.1, 100, 0.01)],
)  # fmt: skip
def test_erlang_b(load, places, share) -> None:
    assert capacity.erlang_b(load, places) == pytest.approx(share, rel=0.02)


def test_far_more_places_than_streams_refuse_nothing() -> None:
    assert capacity.erlang_b(1, 5000) == 0


def test_the_fewest_replicas_that_refuse_too_few() -> None:
    found = capacity.replicas_for(200, 75, 0.001)
    assert capacity.erlang_b(200, found * 75) <= 0.001 < capacity.erlang_b(200, (found - 1) * 75)


def test_one_replica_is_simulated_as_the_formula_says() -> None:
    share = capacity.simulate(80, 1, 84, arrivals=60_000)
    assert share == pytest.approx(capacity.erlang_b(80, 84), rel=0.12)


def test_durations_do_not_matter_and_routing_does() -> None:
    short = capacity.simulate(80, 1, 84, arrivals=60_000, spread=0.2)
    assert short == pytest.approx(capacity.erlang_b(80, 84), rel=0.12)
    # Two of many replicas are asked: a full one refuses although others are free.
    assert capacity.simulate(800, 84, 10, arrivals=30_000) > 2 * capacity.erlang_b(800, 840)


def test_the_plan_refuses_no_more_than_it_may() -> None:
    settings = CapacityBenchmarkSettings(arrivals=20_000, target_ongoing_requests=1000)
    for streams in (10, 300, 3_000):
        found = capacity.plan(streams, 75, settings)
        assert found.simulated <= settings.refused
        assert found.replicas * 75 < 2 * streams or found.replicas == 1


def test_autoscaling_keeps_replicas_at_its_target(tmp_path) -> None:
    settings = CapacityBenchmarkSettings(streams=(320,), arrivals=1000, out=str(tmp_path))
    (found,) = capacity.run(settings)
    assert (found.replicas, found.nodes) == (10, 3)
    assert found.price_per_hour == pytest.approx(3 * settings.price_per_node_hour)
    report = json.loads((tmp_path / "capacity.json").read_text())
    assert report["plans"][0]["replicas"] == 10
    assert capacity.table([found]).row_count == 1


def test_what_a_replica_holds_is_read_from_the_benchmark(tmp_path) -> None:
    path = tmp_path / "serve.json"
    case = {"replicas": 1, "held": True, "streams": 50}
    cases = [case, {**case, "streams": 100, "held": False}, {**case, "streams": 90, "replicas": 2}]
    path.write_text(json.dumps({"streams": cases}))
    settings = CapacityBenchmarkSettings(figures=str(path))
    assert capacity.measured(settings) == 50
    path.write_text("{}")
    with pytest.raises(UserError, match="figures="):
        capacity.measured(settings)
