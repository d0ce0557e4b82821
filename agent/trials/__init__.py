"""One trial by hand: train, evaluate, sample, export, confirm."""
