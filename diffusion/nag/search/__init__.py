"""Which architecture to evaluate next: predictors, acquisition functions, candidates (DiffusionNAG, Section 3.2)."""
