"""Draw the page of `mg3d audit`: ``python docs/draw_audit.py [CHROMIUM]``.

Writes a phantom, plants six faults in it, audits it and takes a picture of the top of the page with
a browser (``chromium`` unless another is named) as ``docs/images/audit.png``.
"""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mg3d.audit.audit import AuditConfig, audit
from mg3d.phantom.phantom import phantom
from mg3d.phantom.settings import PhantomConfig

IMAGE = Path(__file__).parent / "images" / "audit.png"
SIZE = "1100,900"
Voxels = NDArray[Any]


@dataclass(frozen=True)
class Site:
    """A phantom and the rows of its table."""

    folder: Path
    rows: list[dict[str, str]]

    def image(self, row: int) -> Path:
        """The scan of a row."""
        return self.folder / self.rows[row]["image"]

    def change(self, row: int, voxels: Callable[[Voxels], Voxels]) -> None:
        """Write a scan with other voxels."""
        scan: Any = nibabel.load(self.image(row))
        changed = voxels(np.asanyarray(scan.dataobj)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(changed, scan.affine), self.image(row))


def plant(site: Site) -> None:
    """Six faults that a hospital's export may have."""
    scan = site.image(1).read_bytes()
    site.image(1).write_bytes(scan[: len(scan) // 2])  # a copy that broke off
    site.change(2, lambda hu: hu + 1024)  # the intercept was never applied
    site.change(3, lambda hu: hu.clip(-160, 240))  # windowed for viewing
    site.image(-1).write_bytes(site.image(4).read_bytes())  # a test patient's scan is in training
    site.rows[5]["findings"] += " Discussed with Dr. Miller by phone."
    site.rows[6]["findings"] = site.rows[6]["impression"] = ""


def take_picture(page: Path, browser: str) -> None:
    """The top of the page, as the browser shows it."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    subprocess.run(
        [browser, *options, f"--window-size={SIZE}", f"--screenshot={IMAGE}", page.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip


def main(browser: str) -> None:
    """Make, spoil, audit and draw."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        phantom(
            PhantomConfig(
                out=folder / "hospital", num_train=10, num_val=2, num_test=4, seed=5, num_workers=1
            )
        )
        table = folder / "hospital" / "reports.csv"
        with table.open(newline="", encoding="utf-8") as stream:
            site = Site(folder / "hospital", list(csv.DictReader(stream)))
        plant(site)
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(site.rows[0]))
            writer.writeheader()
            writer.writerows(site.rows)
        labels = folder / "hospital" / "labels.csv"
        audit(AuditConfig(data=table, labels=labels, out=folder / "audit", num_workers=1))
        take_picture(folder / "audit" / "audit.html", browser)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["chromium"])
