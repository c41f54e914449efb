"""What a trained run comes to, for a person to read: scores, cases and caveats, as Markdown, HTML and JSON."""
