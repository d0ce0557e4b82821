"""UNetBench: a table of trained networks that searches can be run on without training."""
