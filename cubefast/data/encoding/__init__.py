"""The frozen encoders, from texts to embeddings. Nothing here is ever trained."""
