"""The trainer, its losses, and the folder that a run leaves."""
