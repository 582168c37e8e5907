"""The benchmark of scaling, in the small: its stores are stores, its sizes are what they say."""

from pathlib import Path

import pytest
import torch

from mg3d.data.store import VolumeStore
from mg3d.data.text.tokens import ReportTokenizer


def test_its_stores_can_be_opened_and_read(tmp_path: Path) -> None:
    import scaling_store as benchmark

    benchmark.write_store(tmp_path / "store", 5)
    store = VolumeStore.open(tmp_path / "store")
    assert len(store) == 5
    assert len({row.patient_id for row in store.rows}) == 5
    assert store.read_hu(store.rows[-1].volume_id).shape == benchmark.GRID
    reports = [store.report(row.study_id) for row in store.rows]
    clauses = [clause for report in reports for clause in report.clauses("sentence")]
    assert len(set(clauses)) == len(clauses) == 5 * benchmark.NUM_CLAUSES


def test_its_reports_are_of_usual_length() -> None:
    import scaling_store as benchmark

    reports = [benchmark.draw_report(number) for number in range(20)]
    tokenizer = ReportTokenizer.train((f"{r.findings} {r.impression}" for r in reports), 4000)
    lengths = [len(tokenizer(report).token_ids) for report in reports]
    assert 150 < sum(lengths) / len(lengths) <= 250


@pytest.mark.parametrize(("tokens", "clauses"), [(64, 8), (250, 44), (250, 1)])
def test_its_batches_have_as_many_tokens_and_clauses(tokens: int, clauses: int) -> None:
    import scaling_step as benchmark

    batch = benchmark.draw_batch(3, (4, 4, 4), tokens=tokens, clauses=clauses)
    assert batch.token_mask.sum(dim=1).tolist() == [tokens] * 3
    assert [row.unique().tolist() for row in batch.clause_ids] == [list(range(1, clauses + 1))] * 3


def test_a_measured_step_is_an_optimiser_step() -> None:
    import scaling_step as benchmark
    from mg3d.training.step import training_step
    from mg3d.training.stop import StopRequest

    torch.manual_seed(0)
    settings = benchmark.settings_of(["phantom-tiny", "--optimizer.warmup_steps", "0"])
    run = benchmark.make_run(settings)
    before = run.task.model.image_projection.weight.detach().clone()
    batch = benchmark.draw_batch(2, settings.model.grid, tokens=16, clauses=2)
    values = training_step(run, batch, benchmark.CONTEXT, 1.0, StopRequest())
    assert not torch.equal(before, run.task.model.image_projection.weight)
    losses = {name for name, value in values.items() if name.startswith("loss.") and value > 0}
    assert len(losses) == len(run.task.terms) + 1


def test_sides_are_measured_in_turns_and_the_first_round_does_not_count() -> None:
    from turns import medians_in_turns

    order = []
    sides = {name: lambda n=name: float(order.append(n) or len(order)) for name in "ab"}
    assert medians_in_turns(sides, rounds=3) == {"a": 5, "b": 6}
    assert order == ["a", "b"] * 4


def test_flatness_is_largest_over_smallest() -> None:
    import scaling

    assert scaling.flatness({"4": 2.0, "8": 3.0, "16": 2.5}) == 1.5
