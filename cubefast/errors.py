"""The errors that are the user's to mend. The command line prints them in one message and exits with code 2."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or usage: a file, key, value or folder. Its message says what was got and what to do."""


class ConfigError(InputError):
    """A configuration that does not hold; all its problems are in one message."""


class ArtifactError(InputError):
    """A saved core or run that is missing, damaged, of another version, or made for something else."""


class DiskError(OSError):
    """A file that cannot be written, or a folder that was taken away under its writer. Its message says which, why and
    how to go on; a failure, not the user's mistake.
    """
