"""`python -m cubefast COMMAND`, the same as `cubefast COMMAND`."""

from .cli import program

if __name__ == "__main__":
    program()
