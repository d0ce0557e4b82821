"""Says what comes next: to whoever types no command at all, and at the end of a search."""
