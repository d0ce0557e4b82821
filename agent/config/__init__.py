"""Settings: what they are, where each came from, and how a stored search gives them back."""
