"""How often the checks of a volume are right: clean phantoms, and the same ones made wrong.

    .venv/bin/python benchmarks/volume_checks.py [--studies 200] [--seed 20261122]

Half of the studies are of the easy and half of the standard level. Each is examined as it is, then
with every wrong affine (three mirrored ones, five permuted ones) and every wrong rescale. The seed
must not be 101, on which the thresholds were set. Writes benchmarks/results/volume_checks.json:
for every case how often each fault was found, "" for none.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from comparison import RESULTS, machine
from mg3d.data.examination import examine
from mg3d.data.hounsfield import check_hu
from mg3d.data.scan import Scan
from mg3d.data.scan_error import ScanError
from mg3d.data.volume import Volume
from mg3d.files import write_json
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study, render
from mg3d.training.recorder import source_commit

Array = npt.NDArray[Any]

RESCALES: dict[str, tuple[Callable[[Array], Array], str]] = {
    "HU + 1024": (lambda hu: hu + 1024, "hu_never_rescaled"),
    "HU + 1000": (lambda hu: hu + 1000, "hu_never_rescaled"),
    "HU + 8192": (lambda hu: hu + 8192, "hu_never_rescaled"),
    "HU - 1024": (lambda hu: hu - 1024, "hu_rescaled_twice"),
    "HU - 8192": (lambda hu: hu - 8192, "hu_rescaled_twice"),
    "HU + 500": (lambda hu: hu + 500, "hu_shifted"),
    "HU - 400": (lambda hu: hu - 400, "hu_shifted"),
    "HU * 2": (lambda hu: hu * 2, "hu_slope"),
    "HU / 2": (lambda hu: hu / 2, "hu_slope"),
    "[-1000, 1000] to [0, 1]": (
        lambda hu: (hu.clip(-1000, 1000) + 1000) / 2000, "hu_unit_interval",
    ),
    "[-1000, 1000] to 0..255": (
        lambda hu: np.rint((hu.clip(-1000, 1000) + 1000) / 2000 * 255), "hu_8bit",
    ),
    "clipped to [-160, 240]": (lambda hu: hu.clip(-160, 240), "hu_windowed"),
    "clipped to [-1350, 150]": (lambda hu: hu.clip(-1350, 150), "hu_windowed"),
    "threshold": (lambda hu: (hu > -300).astype(np.int16), "hu_mask"),
}  # fmt: skip
"""Name -> what is done to a volume, and the fault that must be named."""


def main() -> None:
    """Draw, examine, count, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261122)
    given = parser.parse_args()
    found: dict[str, Counter[str]] = {}
    expected: dict[str, str] = {}
    for volume in phantoms(given.studies, given.seed):
        for case, kind, kinds in cases(volume):
            expected[case] = kind
            found.setdefault(case, Counter()).update(kinds)
    rows = [
        {"case": case, "expected": expected[case], "studies": given.studies, "found": dict(counts)}
        for case, counts in found.items()
    ]
    head = {"machine": machine(), "commit": source_commit(), "seed": given.seed}
    write_json(RESULTS / "volume_checks.json", head | {"rows": rows})
    table = Table("case", "expected", "found")
    for row in rows:
        table.add_row(row["case"], row["expected"], str(row["found"]))
    Console().print(table)


def phantoms(number: int, seed: int) -> Iterator[Volume]:
    """Clean studies, levels in turns."""
    for index in range(number):
        level = ("easy", "standard")[index % 2]
        settings = PhantomConfig(out=Path("unused"), seed=seed, difficulty=level)  # type: ignore[arg-type]
        study = render(plan_study(settings, "train", index))
        yield Volume(study.hu, study.affine)


def cases(volume: Volume) -> Iterator[tuple[str, str, list[str]]]:
    """(what was done, the fault to find, the faults found) of one study."""
    yield "clean", "", kinds_of(volume)
    for name, signs in (
        ("left_to_right", (-1, 1, 1, 1)), ("front_to_back", (1, -1, 1, 1)),
        ("upside_down", (1, 1, -1, 1)),
    ):  # fmt: skip
        mirrored = Volume(volume.array, np.diag(signs) @ volume.affine)
        yield f"mirrored {name}", f"anatomy_{name}", kinds_of(mirrored)
    for order in list(permutations(range(3)))[1:]:
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3)[list(order)]
        turned = Volume(volume.array, matrix @ volume.affine)
        name = "".join("xyz"[axis] for axis in order)
        yield f"axes permuted to {name}", "anatomy_permuted", kinds_of(turned)
    hu = volume.array.astype(np.float32)
    for case, (change, kind) in RESCALES.items():
        yield case, kind, hu_kinds_of(change(hu))


def kinds_of(volume: Volume) -> list[str]:
    """The faults of a volume, [""] for none."""
    try:
        return [kind for kind, _ in examine(Scan(volume)).faults] or [""]
    except ScanError as error:
        return [error.kind]


def hu_kinds_of(values: Array) -> list[str]:
    """The faults of an array's values, [""] for none."""
    try:
        return [kind for kind, _ in check_hu(values)] or [""]
    except ScanError as error:
        return [error.kind]


if __name__ == "__main__":
    main()
