"""What is shown: events, lines, tables, pictures of text."""
