"""Who proposes the next spec."""
