"""Specs from the generator of DiffusionNAG."""
