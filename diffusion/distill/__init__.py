"""Block-wise distillation search: a trained UNet made cheaper, block by block (after Tang et al., arXiv 2311.04950)."""
