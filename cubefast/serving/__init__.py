"""A trained run behind HTTP: embeddings, answers and a page to look at (``cubefast serve``; extra ``serve``)."""
