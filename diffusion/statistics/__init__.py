"""What scores may say: noise, verdicts, ranking, racing, pruning."""
