"""Training: the loop, its checkpoints, and the job that runs it in a process of its own."""
