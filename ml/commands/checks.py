"""Checks of options that several commands make before anything slow is imported."""

from pathlib import Path

from ml.atomic_files import check_output
from ml.errors import ConfigError


def require_counts(options: object, *names: str) -> None:
    """Refuse counts below 1; one that is None was not given.

    Raises:
        ConfigError: With the option's name and value.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be ≥ 1, got {value}")


def require_seeds(options: object, *names: str) -> None:
    """Refuse seeds below 0, of an option of one or of several; one that is None was not given.

    Raises:
        ConfigError: With the option's name and value.
    """
    for name in names:
        value = getattr(options, name)
        for seed in value if isinstance(value, tuple) else (value,):
            if seed is not None and seed < 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be ≥ 0, got {seed}")


def require_new(option: str, *files: Path, force: bool) -> None:
    """Refuse to replace files that took long to make, or that somebody may have corrected.

    Tables and pictures that a command draws again from what it reads are replaced without a word.

    Raises:
        ConfigError: One is there, and `force` is off.
    """
    there = next((file for file in files if file.is_file()), None)
    if there is not None and not force:
        raise ConfigError(
            f"{option} = {files[0]}: {there} exists already. Name another file, or use --force "
            "to replace it."
        )


def require_file(option: str, file: Path | None, *endings: str) -> None:
    """Refuse a file to write that has another ending, or that cannot be written; None passes.

    Raises:
        ConfigError: With the option's name and the file.
    """
    if file is None:
        return
    if endings and file.suffix.lower() not in endings:
        raise ConfigError(f"{option} must end in {' or '.join(endings)}, got {file}")
    check_output(option, file)
