"""The lattice on its own: what other PyTorch code drops in. Imports nothing else of cubefast but the version."""

from .backends import BACKENDS, use_backend
from .diagnostics import doctor
from .fire import fire_mask
from .functional import lattice_rollout
from .module import Lattice3D
from .phases import PhasedLattice
from .topology import Topology

__all__ = [
    "BACKENDS",
    "Lattice3D",
    "PhasedLattice",
    "Topology",
    "doctor",
    "fire_mask",
    "lattice_rollout",
    "use_backend",
]
