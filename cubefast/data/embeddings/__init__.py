"""Embeddings that are there already: read from files, kept in memory or not, and checked against their encoder."""
