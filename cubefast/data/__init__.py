"""Text and vectors in: encoders, their cache, data sets, and the placement of an embedding on the lattice."""
