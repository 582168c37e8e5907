"""The exceptions a user may meet, and the exit code each one gives a command.

A message names the place, the value, what is allowed and what to do. It never holds report
text or a personal DICOM tag.
"""


class Mg3dError(Exception):
    """Base of everything that this package raises on purpose."""

    exit_code = 3


class ConfigError(Mg3dError):
    """An option or a recipe asks for something impossible or unknown."""

    exit_code = 2


class DataError(Mg3dError):
    """A scan, report, manifest or store is unusable as it is."""

    exit_code = 1


class CheckpointError(Mg3dError):
    """Weights or a resume state are truncated, foreign or do not fit."""

    exit_code = 1


class StorageError(Mg3dError):
    """A file could not be written: no space left, read-only, or the disk failed."""

    exit_code = 1


class OtherProcessError(Mg3dError):
    """Another process of the same run failed; its own message says why."""

    exit_code = 1


class MissingExtraError(Mg3dError):
    """A feature needs an optional dependency that is not installed."""

    exit_code = 2
