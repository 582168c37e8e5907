"""Draw the pictures of the README from a run: ``python docs/draw_images.py demo/run``.

Writes ``docs/images/findings.png`` and ``docs/images/example.png``; each stays below 300 KB.
"""

import io
import sys
from pathlib import Path

from matplotlib.figure import Figure

from mg3d.files import write_atomic
from mg3d.reporting.figures import finding_dots
from mg3d.reporting.run_folder import read_run
from mg3d.reporting.slices import example_figure
from mg3d.reporting.theme import style
from mg3d.reporting.verdict import results_of

IMAGES = Path(__file__).parent / "images"
DPI = 120


def draw(folder: Path) -> None:
    """Draw the findings of a run and the first of its example studies."""
    run = read_run(folder)
    baselines = () if run.baselines is None else run.baselines.baselines
    findings = finding_dots(results_of(run, "strict"), baselines)
    findings.set_facecolor("white")  # the page behind it may be dark
    write_atomic(IMAGES / "findings.png", _png(findings))
    write_atomic(IMAGES / "example.png", _png(example_figure(run.examples[0])))


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
