"""What computes and is remembered: trainings, scores, replicas, races."""
