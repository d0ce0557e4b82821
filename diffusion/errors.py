"""The two ways in which work here ends early; everything else that is raised is a bug of ours.

ValueError
└── UserError          the user's mistake: one sentence that starts with what they typed, with the remedy
RuntimeError
└── TrainingFailed     a training that cannot give a model (loss is not finite, out of memory): a row, not a crash
"""


class UserError(ValueError):
    """The user's mistake. Its text is one sentence that starts with what was typed and says what would be right."""


class TrainingFailed(RuntimeError):
    """A training that ended without a usable model; its text is the reason that is stored with the trial."""
