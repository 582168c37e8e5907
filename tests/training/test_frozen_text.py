"""What a frozen encoder said is remembered, is the same bits whenever asked, changes nothing."""

from dataclasses import replace

import pytest
import torch
from task_worker import CONTEXT, MODEL, make_batch, make_task, measure, rows_of

from mg3d.model.text import TextEncoder
from mg3d.training.frozen_text import FrozenText
from mg3d.training.task import TrainingTask

SCOPES = ("clause", "report")


def frozen_task(scope: str) -> TrainingTask:
    text = replace(MODEL.text, frozen=True, clause_scope=scope)  # type: ignore[arg-type]
    return make_task(replace(MODEL, text=text))


def count_calls(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Reports that were encoded in each call from now on."""
    calls: list[int] = []
    forward = encoder.forward

    def counted(*arguments: torch.Tensor) -> object:
        calls.append(len(arguments[0]))
        return forward(*arguments)

    monkeypatch.setattr(encoder, "forward", counted)
    return calls


# Measured in float64: losses 5e-16, gradients 1e-15 of the largest.
@pytest.mark.parametrize("scope", SCOPES)
def test_the_step_is_the_same(scope: str) -> None:
    batch = make_batch()
    expected = measure(frozen_task(scope), batch)
    task = frozen_task(scope)
    task.frozen_text = FrozenText(task.model.text_encoder, 1e9)
    for _ in range(2):  # asked, then remembered
        task.zero_grad()
        found = measure(task, batch)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            scale = max(1.0, float(value.abs().max()))
            assert float((found[name] - value).abs().max()) <= 1e-12 * scale, name


@pytest.mark.parametrize("scope", SCOPES)
def test_an_answer_depends_on_nothing_but_its_report(scope: str) -> None:
    batch = make_batch()
    encoder = frozen_task(scope).model.float().text_encoder
    hidden, mask = FrozenText(encoder, 1e9)(batch)
    part = rows_of(batch, range(5, 8))
    fresh_hidden, fresh_mask = FrozenText(encoder, 1e9)(part)
    length = part.token_ids.shape[1]
    assert torch.equal(hidden[5:8, :length], fresh_hidden)  # to the bit, in float32
    assert torch.equal(mask[5:8, :length], fresh_mask)
    together, _ = encoder(batch.token_ids, batch.token_mask, batch.clause_ids)
    difference = (hidden - together)[mask].abs().max()
    assert difference <= 2e-6 * together[mask].abs().max()  # measured 4e-7


def test_the_precision_of_a_step_does_not_reach_what_is_remembered() -> None:
    """Else answers would be those of the step that happened to ask first."""
    encoder = frozen_task("report").model.float().text_encoder
    plain, _ = FrozenText(encoder, 1e9)(make_batch())
    with torch.autocast("cpu", torch.bfloat16):
        within, _ = FrozenText(encoder, 1e9)(make_batch())
    assert torch.equal(within, plain)


def test_each_report_is_encoded_once_and_masked_ones_in_every_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = make_batch()
    task = frozen_task("report")
    task.frozen_text = FrozenText(task.model.text_encoder, 1e9)
    calls = count_calls(task.model.text_encoder, monkeypatch)
    task(batch, CONTEXT)
    assert calls == [1] * len(batch) + [len(batch)]  # each report alone, then the masked ones
    calls.clear()
    task(batch, CONTEXT)
    assert calls == [len(batch)]


def test_what_does_not_fit_is_encoded_again_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = make_batch()
    encoder = frozen_task("report").model.text_encoder
    longest = int(batch.token_mask.sum(dim=1).max())
    room = longest * (8 * encoder.hidden_size + 1)
    frozen = FrozenText(encoder, room)
    first, _ = frozen(batch)
    calls = count_calls(encoder, monkeypatch)
    again, _ = frozen(batch)
    assert 0 < len(calls) < len(batch)
    assert torch.equal(first, again)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("is full after") == 1
    assert "is full after 1 reports" in said  # the next is too long, a shorter one still fits


def test_a_memory_that_is_switched_off_is_not_called_full(capsys) -> None:
    FrozenText(frozen_task("report").model.text_encoder, 0.0)(make_batch())
    assert "is full" not in capsys.readouterr().err


def test_blanked_reports_are_not_taken_from_memory() -> None:
    batch = make_batch()
    plain, remembering = frozen_task("report"), frozen_task("report")
    remembering.frozen_text = FrozenText(remembering.model.text_encoder, 1e9)
    remembering(batch, CONTEXT)
    expected = plain.blanked(batch, CONTEXT, "report")
    found = remembering.blanked(batch, CONTEXT, "report")
    assert torch.equal(found.text_embedding, expected.text_embedding)
