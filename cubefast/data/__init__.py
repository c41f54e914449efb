"""From files and texts to pairs of embeddings: reading, encoding once, quality, and data sets that split by group."""
