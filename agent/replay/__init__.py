"""A recorded search made again offline, and a copy of it that goes on with another model."""
