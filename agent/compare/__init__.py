"""Searchers against each other, on the same seeds."""
