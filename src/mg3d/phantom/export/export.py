"""`mg3d export`: write a phantom as a public data set or a hospital would hand it over."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.errors import ConfigError
from mg3d.phantom.export.exporter import exporters
from mg3d.progress import console

__all__ = ["ExportConfig", "export"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a phantom in the files and tables of another data set."""

    data: Path
    """Folder of a phantom (`mg3d phantom`)."""
    out: Path
    """Folder to write; must not exist or be empty."""
    form: str
    """ct_rate, ct_rate_v1, ctrg_chest, dicom, dicom_jpeg2000, merlin, monai_datalist, msd, nnunet
    or rad_chestct."""

    def __post_init__(self) -> None:
        known = exporters()
        if self.form not in known:
            near = difflib.get_close_matches(self.form, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"form {self.form!r} is none of {', '.join(known)}{hint}")


def export(settings: ExportConfig) -> dict[str, str]:
    """Write a phantom in another form.

    Args:
        settings: What, where and in which form.

    Returns:
        The volume id of each volume of the phantom in what was written.

    Raises:
        ConfigError: If ``data`` is no phantom or ``out`` holds something.
        DataError: If the phantom is damaged.
        StorageError: If a file cannot be written.
    """
    if not (settings.data / "phantom.json").is_file():
        raise ConfigError(
            f"{settings.data}: no phantom.json, so this is no phantom; only phantoms are exported"
        )
    if settings.out.exists() and any(settings.out.iterdir()):
        raise ConfigError(f"{settings.out}: holds something; choose another folder")
    manifest = settings.data / "reports.csv"
    options = LayoutOptions(labels=settings.data / "labels.csv")
    catalogue = read_catalogue(manifest, "manifest", options)
    catalogue.require_sound(manifest)
    exporter = exporters()[settings.form]
    names = exporter.write(catalogue, settings.out)
    start = (settings.out / exporter.start).as_posix()
    console.print(f"{len(names)} volumes; read them with: mg3d audit {start}")
    console.print(f"kept: {exporter.keeps}")
    return names
