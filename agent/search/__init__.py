"""The search: its plan, its loop, one round, why it ends, and the session of the process that drives it."""
