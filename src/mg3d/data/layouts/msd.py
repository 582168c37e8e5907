"""Medical Segmentation Decathlon: ``dataset.json`` names the images of training and test.

Its labels are segmentations, which nothing here reads; reports and findings, if there are any, come
from tables that the command names, by the image's name without its ending.
"""

from pathlib import Path
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow, assemble, patients_unknown
from mg3d.data.layouts.layout import Layout, LayoutOptions
from mg3d.data.layouts.matching import listed
from mg3d.data.layouts.side_tables import attach_tables
from mg3d.data.layouts.site_folder import list_folder, stem
from mg3d.data.layouts.table import peek_json, read_json
from mg3d.data.layouts.table_error import TableError
from mg3d.data.scan import ScanSource
from mg3d.data.splits import Split
from mg3d.data.text.reports import Report

FILE = "dataset.json"
_LISTS: tuple[tuple[str, Split, str], ...] = (
    ("training", "train", "numTraining"), ("test", "test", "numTest"),
)  # fmt: skip
"""Key of a list, its split, key of its stated length."""


def recognise(path: Path) -> bool:
    """Whether a folder holds a ``dataset.json`` with modalities and a list of training images."""
    folder = path.parent if path.name == FILE else path
    content = peek_json(folder / FILE)
    return (
        isinstance(content, dict)
        and isinstance(content.get("training"), list)
        and "modality" in content
        and not any((folder / "imagesTr").glob("*_0000.*"))  # that is nnU-Net's
    )


def read(path: Path, options: LayoutOptions) -> Catalogue:
    """The catalogue of a task's folder.

    Args:
        path: The folder of ``dataset.json``, or that file.
        options: ``reports`` and ``labels`` by study id, which is the image's name.

    Raises:
        TableError: If the description is not as the decathlon has it.
    """
    folder = path if path.is_dir() else path.parent
    content = read_json(folder / FILE)
    place = FILE
    faults: list[Fault] = []
    if not isinstance(content, dict):
        raise TableError(f"{folder / FILE}: not a JSON object", "table_columns")
    check_modality(content.get("modality"), place, faults)
    rows: list[CatalogueRow] = []
    for part, split, counter in _LISTS:
        entries = content.get(part) or []
        if not isinstance(entries, list):
            raise TableError(f"{folder / FILE}: {part} is not a list", "table_columns")
        images = [_image(folder, entry, part) for entry in entries]
        stated = content.get(counter)
        if isinstance(stated, int) and stated != len(images):
            message = f"{counter} is {stated}, {part} lists {len(images)}"
            faults.append(Fault(kind="table_count", message=message, place=place))
        rows += [_row(folder, image, part, n, split) for n, image in enumerate(images, start=1)]
    site = list_folder(folder)
    named = {row.image for row in rows}
    there = [site.relative(file) for file in site.scans() if file.parent.name[:6] == "images"]
    if unlisted := [image for image in there if image not in named]:
        message = f"{len(unlisted)} images are in no list of {FILE}: {listed(unlisted)}"
        faults.append(Fault(kind="file_unlisted", message=message))
    rows, names = attach_tables(rows, options, faults)
    faults.append(patients_unknown(rows))
    return assemble(LAYOUT.name, folder, rows, label_names=names, faults=faults)


def check_modality(modality: Any, place: str, faults: list[Fault]) -> None:
    """Complain unless the only modality is CT."""
    names = list(modality.values()) if isinstance(modality, dict) else []
    if [str(name).strip().upper() for name in names] != ["CT"]:
        message = f"modality names {len(names)} channel(s), not the single one 'CT'"
        faults.append(Fault(kind="scan_modality", message=message, place=place))


def _image(folder: Path, entry: Any, part: str) -> str:
    image = entry.get("image") if isinstance(entry, dict) else entry
    if not isinstance(image, str):
        raise TableError(
            f"{folder / FILE}: {part} lists images as a path or {{'image': path}}", "table_columns"
        )
    return Path(image.replace("\\", "/")).as_posix()


def _row(folder: Path, image: str, part: str, number: int, split: Split) -> CatalogueRow:
    name = stem(Path(image).name)
    return CatalogueRow(
        place=f"{FILE}, {part} {number}",
        volume_id=name,
        study_id=name,
        patient_id=name,
        source=ScanSource(path=folder / image),
        image=image,
        report=Report(),
        split=split,
    )


LAYOUT = Layout(
    name="msd",
    summary="Medical Segmentation Decathlon; its labels are segmentations, so no reports",
    expects=f"a folder; {FILE} with modality, training and test; imagesTr, imagesTs",
    recognise=recognise,
    read=read,
)
