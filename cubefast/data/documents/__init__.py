"""Pairs from documents without questions: headings and paragraphs, for `cubefast pairs`."""
