"""MG-3D: pre-train 3D encoders from volumes and radiology reports, and evaluate them honestly.

Nothing heavy is imported here: names load on first use, so that ``mg3d --help`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mg3d.data.text.reports import Report as Report
    from mg3d.data.volume import Volume as Volume
    from mg3d.weights.release import load_model as load_model

_HOMES = {
    "load_model": "mg3d.weights.release",
    "Volume": "mg3d.data.volume",
    "Report": "mg3d.data.text.reports",
}

__all__ = ["Report", "Volume", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mg3d' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
