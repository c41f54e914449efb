"""Text and vectors in: encoders, their cache, data sets, and the way an embedding is laid on the lattice."""
