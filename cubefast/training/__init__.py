"""The trainer: its loop, losses, validation and rivals, and the folder that a run leaves."""
