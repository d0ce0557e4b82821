"""What may say no to a proposal."""
