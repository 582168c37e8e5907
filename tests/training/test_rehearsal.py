"""The largest step is tried before anything long, and leaves no trace."""

import gc
import socket
import weakref
from dataclasses import replace

import pytest
import torch
from rehearsal_worker import work
from task_worker import MODEL

from mg3d.data.dataset import StudyDataset
from mg3d.data.store import VolumeStore
from mg3d.data.text.reports import Report
from mg3d.errors import ConfigError
from mg3d.model.vlm import VisionLanguageModel
from mg3d.objectives.masked_volume import MaskedVolumeConfig
from mg3d.objectives.registry import ObjectivesConfig, build_objectives
from mg3d.training import rehearsal
from mg3d.training.engine import launch
from mg3d.training.optim import OptimizerConfig
from mg3d.training.rehearsal import largest_batch, rehearse
from mg3d.training.task import TrainingTask, Vocabulary

OPTIMIZER = OptimizerConfig()


@pytest.fixture
def dataset(small_store, tokenizer) -> StudyDataset:
    return StudyDataset(small_store, small_store.select("train"), tokenizer)


def make_task(tokenizer, block: tuple[int, int, int] = (8, 8, 8)) -> TrainingTask:
    terms = build_objectives(ObjectivesConfig(masked_volume=MaskedVolumeConfig(block=block)))
    text = replace(MODEL.text, vocabulary_size=tokenizer.vocab_size)
    parts = tuple(term.objective.name for term in terms)
    model = VisionLanguageModel(replace(MODEL, text=text, parts=parts))
    specials = (tokenizer.vocab_size, tokenizer.mask_token_id, tokenizer.special_token_ids)
    return TrainingTask(model, terms, Vocabulary(*specials))


def test_weights_gradients_and_random_state_stay(dataset, tokenizer) -> None:
    task = make_task(tokenizer)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    state = torch.get_rng_state()
    rehearse(launch("cpu", "32-true"), task, dataset, 4, OPTIMIZER)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in task.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), name
    assert all(parameter.grad is None for parameter in task.parameters())
    assert task.model.similarity_cutoffs is None  # they are the start's to find


def watch(monkeypatch, seen: list) -> None:
    """Note the copy and what its forward pass starts from, without keeping either alive."""
    real, forward = rehearsal.set_up, TrainingTask.rehearse

    def set_up(fabric, task, settings):
        wrapped, optimizer, fabric_optimizer = real(fabric, task, settings)
        seen.extend((weakref.ref(task), weakref.ref(optimizer)))
        return wrapped, optimizer, fabric_optimizer

    def watched(self, batch, step):
        copied, optimizer = (reference() for reference in seen)
        assert copied is self
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        held = sum(t.numel() for state in optimizer.state.values() for t in state.values())
        assert held >= 2 * sum(parameter.numel() for parameter in trained)  # Adam's moments
        seen.append([parameter.grad is not None for parameter in trained])
        return forward(self, batch, step)

    monkeypatch.setattr(rehearsal, "set_up", set_up)
    monkeypatch.setattr(TrainingTask, "rehearse", watched)


@pytest.mark.parametrize("divided", [False, True])
def test_the_state_of_the_optimiser_has_its_room(dataset, tokenizer, monkeypatch, divided) -> None:
    task, seen, fabric = make_task(tokenizer), [], launch("cpu", "32-true")
    watch(monkeypatch, seen)
    gc.disable()  # that it happens to run is no promise
    try:
        rehearse(fabric, task, dataset, 2, OPTIMIZER, divided=divided)
    finally:
        gc.enable()
    copied, optimizer, had_gradients = seen
    assert set(had_gradients) == {divided}  # those of a part stay while the next one is encoded
    assert copied() is None  # its memory is free when training begins
    assert optimizer() is None


def test_it_takes_the_longest_reports(dataset, tokenizer) -> None:
    """Both sections count: the two longest of each alone are not the two longest together."""
    lengths = [(9, 0), (0, 9), (8, 1), (1, 8), (7, 7), (6, 6)]
    store, studies = dataset.store, sorted({row.study_id for row in dataset.rows})
    reports = {study: Report("Nodule.") for study in studies}
    for study, (findings, impression) in zip(studies, lengths, strict=False):
        reports[study] = Report("No effusion. " * findings, "No effusion. " * impression)
    changed = VolumeStore(store.path, store.settings, dataset.rows, reports, (), "")
    batch = largest_batch(StudyDataset(changed, changed.rows, tokenizer), 2)
    assert set(batch.study_ids) == {studies[4], studies[5]}


def test_shapes_that_do_not_fit_are_found(dataset, tokenizer) -> None:
    with pytest.raises(ConfigError, match="divide the grid"):
        rehearse(launch("cpu", "32-true"), make_task(tokenizer, (5, 8, 8)), dataset, 2, OPTIMIZER)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_too_little_memory_says_what_to_change(dataset, tokenizer, error, monkeypatch) -> None:
    def fail(*_arguments) -> None:
        raise error

    task = make_task(tokenizer)
    monkeypatch.setattr(TrainingTask, "views", fail)
    expected = r"4 volumes of 32x16x32 voxels.*--loop\.micro_batch_size 2"
    with pytest.raises(ConfigError, match=expected):
        rehearse(launch("cpu", "32-true"), task, dataset, 4, OPTIMIZER)


def test_other_errors_are_not_hidden(dataset, tokenizer, monkeypatch) -> None:
    def fail(*_arguments) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    task = make_task(tokenizer)
    monkeypatch.setattr(TrainingTask, "views", fail)
    with pytest.raises(RuntimeError, match="multiplied"):
        rehearse(launch("cpu", "32-true"), task, dataset, 4, OPTIMIZER)


@pytest.mark.distributed
def test_what_is_sharded_is_tried_in_pieces(tmp_path) -> None:
    """A model that fits only in pieces would fail in an unsharded forward or backward pass."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(
        work, args=(port, str(tmp_path)), nprocs=2, start_method="forkserver"
    )
    assert {file.read_text() for file in tmp_path.glob("rank*")} == {"pieces"}
