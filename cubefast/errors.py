"""The errors that a user can correct. The command line prints their message and exits with code 2."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or usage: a file, key, value or folder. Its message says what was got and what to do."""


class ConfigError(InputError):
    """A config that is not valid; its message has all problems."""


class ArtifactError(InputError):
    """A saved core or run that is missing, damaged, of another version, or made for something else."""


class DiskError(OSError):
    """A file that cannot be written, or a folder that was removed while it was written. Its message says which, why and
    how to continue; it is a failure and not the user's mistake.
    """


class EncoderUnavailableError(InputError):
    """An encoder behind an address that cannot be reached, is not willing, or fails again and again."""
