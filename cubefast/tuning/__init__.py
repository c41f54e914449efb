"""The search for a better config: `python -m cubefast.tune`. Needs Optuna (the extra `tune`)."""
