"""`python -m cubefast COMMAND`, the same as `cubefast COMMAND`."""

from .cli import main

main()
