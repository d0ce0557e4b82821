"""The table of loss curves: how the loss of each training went, thinned (`diffusion.training.curve`)."""

LOSS_CURVES = """
    CREATE TABLE loss_curves (
        training INTEGER NOT NULL REFERENCES trainings (id),
        step INTEGER NOT NULL CHECK (step >= 1),
        loss REAL NOT NULL,
        PRIMARY KEY (training, step)
    ) STRICT, WITHOUT ROWID
    """
"""A point is a function of the training and the step, so one that is heard twice is kept once. No prompt reads it: the
journal leaves it out."""
