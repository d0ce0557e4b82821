"""Computes: specs, costs, the UNet, the noise process, data, training, sampling and scores; knows no database, no language model, no command line."""
