"""What a trained run comes to, for a person to read: figures, cases, limits, advice; as Markdown, HTML and JSON."""
