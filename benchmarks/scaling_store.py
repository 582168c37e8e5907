"""What the number of studies costs before the first step and in it: for `scaling.py`.

Stores are written with the functions that `mg3d prepare` writes them with, but all volumes are
links to one small file, and no two clauses of the reports are alike: real reports repeat
themselves, so these are the worst case.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from mg3d import cli
from mg3d.data.dataset import StudyDataset
from mg3d.data.grid import GridConfig
from mg3d.data.sampler import EpochSampler
from mg3d.data.splits import SplitConfig, split_of
from mg3d.data.store import (
    INDEX_FILE,
    REPORTS_FILE,
    SCHEMA,
    STORE_FILE,
    StoreRow,
    StoreSettings,
    VolumeStore,
    hash_content,
    to_jsonl,
    volume_path,
)
from mg3d.data.text.reports import Report
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.data.volume_file import encode_volume, read_header
from mg3d.files import write_atomic, write_json
from mg3d.randomness import rng
from mg3d.training.batches import RunBatches, read_batches
from mg3d.training.planner import PlanConfig
from mg3d.training.rehearsal import largest_batch
from mg3d.training.start import corpus_documents, corpus_sections
from mg3d.training.trial import Trial

RECIPE = "phantom-tiny"
GRID = (16, 16, 16)
LABELS = tuple(f"finding {number}" for number in range(18))
NUM_CLAUSES, NUM_WORDS = 20, 9
"""Of a report and of a clause: about 230 tokens."""
VOCABULARY = 3000
BATCH, STEPS = 4, 12
MIB = 2**20
Made = TypeVar("Made")


def write_store(folder: Path, num_studies: int) -> None:
    """A store of as many studies and patients, one volume each."""
    content = encode_volume(np.zeros(GRID, dtype=np.int16), {"affine": np.eye(4).tolist()})
    first = folder / "volume.safetensors"
    write_atomic(first, content)
    digest = read_header(first, "the volume of the benchmark").sha256
    settings = StoreSettings(geometry=GridConfig(grid=GRID, spacing_mm=(20.0, 20.0, 20.0)))
    names = [f"study{number:06d}" for number in range(num_studies)]
    reports = {name: draw_report(number) for number, name in enumerate(names)}
    volume_path(folder, "").parent.mkdir()
    for name in names:
        os.link(first, volume_path(folder, name))
    rows = to_jsonl(_row(name, reports[name], digest).to_json() for name in names)
    texts = to_jsonl(
        {"study_id": name, "findings": r.findings, "impression": r.impression, "faults": []}
        for name, r in reports.items()
    )
    write_atomic(folder / INDEX_FILE, rows)
    write_atomic(folder / REPORTS_FILE, texts)
    shape = settings.to_json()
    description = {"schema": SCHEMA, "settings": shape, "label_names": list(LABELS)}
    digest = hash_content(shape, LABELS, rows, texts)
    write_json(folder / STORE_FILE, description | {"content_hash": digest})


def _row(name: str, report: Report, digest: str) -> StoreRow:
    return StoreRow(
        volume_id=name, study_id=name, patient_id=f"patient of {name}",
        report_id=report.report_id, split=split_of(name, SplitConfig()),
        image=f"images/{name}.nii.gz", source_sha256=digest, volume_sha256=digest,
        labels=(1.0, 0.0, float("nan")) * (len(LABELS) // 3),
    )  # fmt: skip


def draw_report(number: int) -> Report:
    """Clauses of made-up words, frequent ones more often, as in a language."""
    generator = rng(0, number, "report")
    ranks = (VOCABULARY * generator.random((NUM_CLAUSES, NUM_WORDS)) ** 3).astype(int)
    *findings, last = (" ".join(map(_word, clause)).capitalize() + "." for clause in ranks.tolist())
    return Report(findings=" ".join(findings), impression=last)


def _word(rank: int) -> str:
    """Two to four syllables that belong to a rank."""
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    found = ""
    for _ in range(2 + rank % 3):
        found += syllables[rank % len(syllables)]
        rank = rank * 7 // 3 + 1
    return found


def before_the_first_step(folder: Path) -> dict[str, float]:
    """Seconds of each stage before training, and what this process holds.

    Returns:
        ``s <stage>``, ``MiB <stage>`` (added to the resident set by it), ``MiB before the first
        step`` (all of the resident set), ``MiB training`` (its peak, after a step),
        ``ms a volume``.
    """
    found = {"MiB imports": _resident_mib()}

    def stage(name: str, make: Callable[[], Made]) -> Made:
        before, began = _resident_mib(), time.perf_counter()
        made = make()
        found[f"s {name}"] = time.perf_counter() - began
        found[f"MiB {name}"] = _resident_mib() - before  # memory that is used again adds nothing
        return made

    store = stage("open", lambda: VolumeStore.open(folder))
    tokenizer = stage("vocabulary", lambda: _train_tokenizer(store))
    rows = store.select("train")
    dataset = stage("dataset", lambda: StudyDataset(store, rows, tokenizer))
    stage("longest reports", lambda: largest_batch(dataset, BATCH))
    documents = stage("corpus", lambda: corpus_documents(dataset, tokenizer, whole=False))
    sections = stage("sections", lambda: corpus_sections(dataset, tokenizer))
    found["clauses different"] = len(documents)
    del documents, sections
    patients = dataset.patient_ids
    sampler = EpochSampler(len(dataset), BATCH, seed=0, patient_ids=patients)
    stage("order of an epoch", sampler.order)
    found |= _read(dataset, sampler)
    found["MiB before the first step"] = _resident_mib()
    _step()
    found["MiB training"] = _status_mib("VmHWM")
    return found


def _train_tokenizer(store: VolumeStore) -> ReportTokenizer:
    reports = (store.report(row.study_id) for row in store.select("train"))
    return ReportTokenizer.train((f"{r.findings} {r.impression}" for r in reports), 4000)


def _read(dataset: StudyDataset, sampler: EpochSampler) -> dict[str, float]:
    """The first batch, and a volume of later ones."""
    batches = RunBatches(sampler, start=0, steps=STEPS)
    reading = read_batches(dataset, batches, num_workers=1, pin_memory=False)
    began = time.perf_counter()
    next(reading).to("cpu")
    first = time.perf_counter() - began
    began = time.perf_counter()
    for batch in reading:
        batch.to("cpu")
    each = (time.perf_counter() - began) / (STEPS - 1) / BATCH
    return {"s first batch": first, "ms a volume": 1000 * each}


def _step() -> None:
    """An optimiser step of the smallest recipe, for the memory that it takes."""
    words = [RECIPE, "--accelerator=cpu"]
    settings: PlanConfig = cli.parse(PlanConfig, "plan", words)
    Trial(settings).time(settings.loop.batch_size, repeats=1)


def _resident_mib() -> float:
    return _status_mib("VmRSS")


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024
