"""What other commands found, each as sentences, tables and figures of the page of a search."""
