"""Draw the 18 findings of the phantom: ``python docs/draw_phantom.py``.

Writes ``docs/images/phantom.png``: one axial, coronal or sagittal slice a finding, through the
middle of its largest section, from the study files' own planning and rendering code.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mg3d.files import write_atomic
from mg3d.phantom.acquisition import scan_voxels
from mg3d.phantom.findings import FINDINGS, FIRST_LESION_LABEL
from mg3d.phantom.lesion import Draw
from mg3d.phantom.settings import DIFFICULTIES, PhantomConfig
from mg3d.phantom.study import paint, plan_study
from mg3d.randomness import rng

IMAGE = Path(__file__).parent / "images" / "phantom.png"
PLANES = "aacaacaccaccccaaaa"
"""For each finding the plane that shows it: a axial, c coronal."""
SOFT_TISSUE = (-250.0, 450.0)
LUNG = (-1000.0, 300.0)
SOFT_TISSUE_FINDINGS = frozenset(range(7)) | {12}


def main() -> None:
    """Draw healthy anatomy and every finding of one patient, two rows of windows."""
    plan = plan_study(PhantomConfig(out=Path("unused"), difficulty="standard", seed=4), "train", 1)
    figure = Figure(figsize=(12, 5.9), facecolor="black")
    axes = figure.subplots(3, 6, gridspec_kw={"wspace": 0.02, "hspace": 0.1})
    for k, (ax, finding) in enumerate(zip(axes.flat, FINDINGS, strict=True)):
        source = rng(2, "gallery", k)
        draw = Draw(source=source, anatomy=plan.anatomy, level=DIFFICULTIES["easy"])
        alone = replace(plan, lesions={k: finding.draw(draw)})
        canvas = paint(alone)
        voxels = scan_voxels(canvas.hu, alone.scan)
        picture, aspect = _slice(voxels, canvas.label == FIRST_LESION_LABEL + k, PLANES[k],
                                 alone.scan.spacing_mm)  # fmt: skip
        low, high = SOFT_TISSUE if k in SOFT_TISSUE_FINDINGS else LUNG
        ax.imshow(picture, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        ax.set_title(finding.name, fontsize=8, color="white", pad=2)
        ax.set_axis_off()
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.96)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=68, metadata={"Software": None})
    write_atomic(IMAGE, stream.getvalue())


def _slice(
    voxels: NDArray[np.int16], lesion: NDArray[np.bool_], plane: str, spacing: tuple[float, ...]
) -> tuple[NDArray[np.int16], float]:
    """The slice with most of the lesion, as a radiologist sees it (patient's right on the left)."""
    if plane == "a":
        index = int(lesion.sum((0, 1)).argmax())
        return voxels[::-1, ::-1, index].T, spacing[1] / spacing[0]
    index = int(lesion.sum((0, 2)).argmax())
    return voxels[::-1, index, ::-1].T, spacing[2] / spacing[0]


if __name__ == "__main__":
    main()
