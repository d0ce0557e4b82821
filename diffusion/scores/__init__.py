"""How good samples are: features, reference statistics, FID and its companions."""
