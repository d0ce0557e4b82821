"""A language model proposes, as in the DiffNAS paper: its rounds, what it is told, and what happens where it fails."""
