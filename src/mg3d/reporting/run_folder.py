"""RunFolder: everything the report knows, read from the files of one run.

Only `metrics.jsonl` is required. What is missing is None or empty, and the page says so; what is
there but broken is a DataError, because a page that silently leaves a result out would mislead.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from mg3d.errors import DataError
from mg3d.reporting.results import (
    Baseline,
    EvaluationHead,
    RetrievalResult,
    ZeroShotResult,
    read_baselines,
    read_head,
    read_retrieval,
    read_zero_shot,
)

PLANES = ("axial", "coronal", "sagittal")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class LoggedStep:
    """One line of `metrics.jsonl`."""

    step: int
    epoch: float | None
    total_steps: int | None
    seconds: float | None
    """Duration of this step."""
    losses: Mapping[str, float]
    """The key "total" and one key an objective."""
    metrics: Mapping[str, float]
    """Keys are "<objective>.<metric>"."""
    volumes_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One result file: its head, and the results in it."""

    head: EvaluationHead
    zero_shot: tuple[ZeroShotResult, ...] = ()
    retrieval: tuple[RetrievalResult, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    prompt_texts: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleStudy:
    """Three planes of a study with the similarity of a prompt to every pixel shown."""

    study_id: str
    finding: str
    prompt: str
    score: float | None
    label: float | None
    """1 present, 0 absent, None unknown."""
    images: Mapping[str, NDArray[np.uint8]]
    """Plane -> (rows, columns), in display orientation."""
    similarities: Mapping[str, NDArray[np.float32]]
    """Plane -> (rows, columns): what each place adds to the similarity of volume and prompt."""
    pixel_mm: Mapping[str, tuple[float, float]]
    """Plane -> distance of rows and of columns in mm."""


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A run as its files tell it."""

    folder: Path
    steps: tuple[LoggedStep, ...]
    recipe: str | None
    """`config.yaml` as it stands."""
    environment: Mapping[str, Any] | None
    provenance: Mapping[str, Any] | None
    zero_shot: Evaluation | None
    retrieval: Evaluation | None
    baselines: Evaluation | None
    examples: tuple[ExampleStudy, ...]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name


def read_run(folder: Path) -> RunFolder:
    """Read a run directory.

    Raises:
        DataError: If ``folder`` is no run, or one of its files is damaged or of another schema.
    """
    evaluation = folder / "evaluation"
    recipe = folder / "config.yaml"
    return RunFolder(
        folder=folder,
        steps=_read_steps(folder / "metrics.jsonl"),
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else None,
        environment=_read_json(folder / "environment.json"),
        provenance=_read_json(folder / "provenance.json"),
        zero_shot=_read_evaluation(evaluation / "zero_shot.json"),
        retrieval=_read_evaluation(evaluation / "retrieval.json"),
        baselines=_read_evaluation(evaluation / "baselines.json"),
        examples=_read_examples(evaluation / "examples"),
    )


def _read_steps(path: Path) -> tuple[LoggedStep, ...]:
    if not path.is_file():
        raise DataError(
            f"{path}: not found, so {path.parent} is not the folder of a run. Give the folder that "
            "`mg3d pretrain` wrote."
        )
    by_step: dict[int, LoggedStep] = {}  # a resumed run may log a step again; the last one counts
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            by_step[row["step"]] = LoggedStep(
                step=row["step"],
                epoch=row.get("epoch"),
                total_steps=row.get("total_steps"),
                seconds=row.get("seconds"),
                losses=row["loss"],
                metrics=row.get("metrics", {}),
                volumes_per_second=row.get("volumes_per_second"),
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: not a logged step (an object with 'step' and 'loss'). "
                "Remove the line, or run the training command again; it rewrites the file."
            ) from error
    if not by_step:
        raise DataError(f"{path}: holds no logged step. Train first: `mg3d pretrain`.")
    return tuple(by_step[step] for step in sorted(by_step))


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not valid JSON (line {error.lineno}). Delete the file and run the command "
            "that writes it again."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, an object is expected.")
    return content


def _read_evaluation(path: Path) -> Evaluation | None:
    content = _read_json(path)
    if content is None:
        return None

    def of_task(
        task: str, read: Callable[[Mapping[str, Any], Path], tuple[Result, ...]]
    ) -> tuple[Result, ...]:
        return read(content, path) if path.stem == task else ()

    return Evaluation(
        head=read_head(content, path),
        zero_shot=of_task("zero_shot", read_zero_shot),
        retrieval=of_task("retrieval", read_retrieval),
        baselines=of_task("baselines", read_baselines),
        prompt_texts=content.get("prompt_texts"),
    )


def _read_examples(folder: Path) -> tuple[ExampleStudy, ...]:
    if not folder.is_dir():
        return ()
    return tuple(_read_example(path) for path in sorted(folder.glob("*.safetensors")))


def _read_example(path: Path) -> ExampleStudy:
    about = _read_json(path.with_suffix(".json")) or {}
    try:
        arrays = load_file(path)
        images = {plane: arrays[f"{plane}_image"] for plane in PLANES}
        similarities = {plane: arrays[f"{plane}_similarity"] for plane in PLANES}
    except (SafetensorError, KeyError) as error:
        raise DataError(
            f"{path}: damaged, or one of its six planes is missing. Delete {path.parent} and run "
            "`mg3d evaluate` again."
        ) from error
    return ExampleStudy(
        study_id=path.stem,
        finding=str(about.get("finding", "")),
        prompt=str(about.get("prompt", "")),
        score=about.get("score"),
        label=about.get("label"),
        images=images,
        similarities=similarities,
        pixel_mm={plane: _pixel_mm(about, plane) for plane in PLANES},
    )


def _pixel_mm(about: Mapping[str, Any], plane: str) -> tuple[float, float]:
    planes = about.get("planes")
    known = planes.get(plane, {}).get("pixel_mm") if isinstance(planes, dict) else None
    rows, columns = known or (1.0, 1.0)
    return float(rows), float(columns)
