"""Remembers: the SQLite store of searches, proposals, trainings, scores and costs; knows specs but no torch."""
