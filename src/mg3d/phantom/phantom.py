"""`mg3d phantom`: write the embedded data set as a hospital would hand it over.

NIfTI volumes, a CSV of reports, a CSV of labels and masks; layout in
docs/explanation/contracts.md. The tables come last, so a folder with ``reports.csv`` is complete.
The same seed gives the same bytes with the same NumPy and zlib on the same kind of processor;
elsewhere a sine may round differently, which moves single voxels by 1 HU.
"""

import csv
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import nibabel as nib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import NDArray

from mg3d.errors import ConfigError, Mg3dError
from mg3d.files import remove_stale_temporaries, write_atomic, write_json
from mg3d.phantom.findings import FINDINGS, FIRST_LESION_LABEL
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import StudyPlan, Visit, list_visits, plan_study, render
from mg3d.phantom.thorax import HEART_LABEL, LUNG_LABEL
from mg3d.progress import console, track

__all__ = ["PhantomConfig", "phantom"]

_PHANTOM_VERSION = 1
"""Raise it whenever the same settings would give another image, mask or report: a change of the
drawing, of the phrases or of the order of random draws. Else a folder begun before the change would
be completed by studies, and paired with reports, of after it."""
GZIP_LEVEL = 1
"""Noise does not compress; level 1 is twice as fast as 6 for 3 % larger files."""


def phantom(settings: PhantomConfig) -> None:
    """Write a phantom data set, or what is missing of it.

    Args:
        settings: What to draw and where to write it.

    Raises:
        ConfigError: If the folder holds a phantom made with other settings.
        StorageError: If a file cannot be written.
    """
    _claim_folder(settings)
    visits = list(list_visits(settings))
    missing = [visit for visit in visits if not all(p.exists() for p in _files(settings, visit))]
    parallel = joblib.Parallel(
        n_jobs=settings.num_workers, return_as="generator_unordered", batch_size=4
    )
    jobs = parallel(joblib.delayed(_write_study)(settings, visit) for visit in missing)
    try:
        for _ in track(jobs, total=len(missing), description="phantom"):
            pass
    except TerminatedWorkerError as error:
        raise Mg3dError(
            f"{settings.out}: a rendering process was killed by the system, most often for lack "
            f"of memory. Finished studies are kept: run the same command with a smaller "
            f"num_workers than {settings.num_workers}."
        ) from error
    _write_tables(settings, [plan_study(settings, *visit) for visit in visits])
    console.print(f"phantom: {len(visits)} studies in {settings.out} ({len(missing)} new)")


def _claim_folder(settings: PhantomConfig) -> None:
    """Write or check ``phantom.json``, so that two settings never mix in one folder."""
    drawn = asdict(settings)
    del drawn["out"], drawn["num_workers"]  # neither changes a byte of the result
    legend = {"0": "background", str(LUNG_LABEL): "lungs", str(HEART_LABEL): "heart"}
    legend |= {str(FIRST_LESION_LABEL + k): f.name for k, f in enumerate(FINDINGS)}
    document = {
        "schema": "mg3d.phantom/1",
        "version": version("mg3d"),
        "drawing": _PHANTOM_VERSION,
        "settings": drawn,
        "masks": legend,
    }
    path = settings.out / "phantom.json"
    if path.exists():
        _refuse_other_settings(path, document)
        for folder in ("images", "masks", "."):
            remove_stale_temporaries(settings.out / folder)
    write_json(path, document)


def _refuse_other_settings(path: Path, document: dict[str, Any]) -> None:
    """Raise unless the phantom at ``path`` was made by the same settings, package and drawing."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(
            f"{path}: not readable as JSON ({error}), so it cannot be told what the folder holds. "
            "Choose another folder, or delete this one."
        ) from error
    document = json.loads(json.dumps(document))  # as the file spells it: lists, no tuples
    if found == document:
        return
    there, asked = found.get("settings", {}), document["settings"]
    changed = [
        f"{name}: {there.get(name)!r} there, {value!r} asked"
        for name, value in asked.items()
        if there.get(name) != value
    ]
    changed = changed or [
        f"{name}: {found.get(name)!r} there, {document[name]!r} now"
        for name in document
        if found.get(name) != document[name]
    ]
    raise ConfigError(
        f"{path.parent} holds another phantom ({'; '.join(changed)}). Choose another folder, or "
        "delete this one."
    )


def _files(settings: PhantomConfig, visit: Visit) -> tuple[Path, Path]:
    """Image and mask of a study; each appears only when complete."""
    name = f"{visit.split}_{visit.patient:05d}_{visit.number}.nii.gz"
    return settings.out / "images" / name, settings.out / "masks" / name


def _write_study(settings: PhantomConfig, visit: Visit) -> None:
    """Render one study; runs in a worker process."""
    hu, masks, affine = render(plan_study(settings, *visit))
    image_path, mask_path = _files(settings, visit)
    write_atomic(mask_path, nifti_bytes(masks, affine))
    write_atomic(image_path, nifti_bytes(hu, affine))


def nifti_bytes(voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> bytes:
    """A gzipped NIfTI-1 file; the same voxels and affine give the same bytes.

    Args:
        voxels: (I, J, K) int16 or uint8.
        affine: (4, 4) index to scanner mm, RAS+.
    """
    image = nib.Nifti1Image(np.asfortranarray(voxels), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)  # 31: gzip frame without a time
    return packer.compress(image.to_bytes()) + packer.flush()


def _write_tables(settings: PhantomConfig, plans: Sequence[StudyPlan]) -> None:
    labels = [["study_id", *(finding.name for finding in FINDINGS)]]
    labels += [[plan.study_id, *map(str, plan.labels)] for plan in plans]
    write_atomic(settings.out / "labels.csv", _csv(labels))
    reports = [["study_id", "patient_id", "image", "findings", "impression", "split"]]
    reports += [
        [
            plan.study_id,
            plan.patient_id,
            f"images/{plan.study_id}.nii.gz",
            plan.report.findings_text,
            plan.report.impression_text,
            plan.split,
        ]
        for plan in plans
    ]
    write_atomic(settings.out / "reports.csv", _csv(reports))


def _csv(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
