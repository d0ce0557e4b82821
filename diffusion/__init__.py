"""Computes: specs, costs, the UNet, the noise process, data, training, sampling and scores.

It knows no database, no language model and no command line: a library that a researcher can use alone.
"""
