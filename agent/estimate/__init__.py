"""What a search will cost, before anything is spent."""
