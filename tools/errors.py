"""The ways in which a tool ends without its result.

    Refused          retryable: change the call; the sentence says what would be right, and it is a row in memory
    Unavailable      terminal: this cannot be had, whatever the call
    Interrupted      the user stops the search; the work so far is saved and goes on at the next resume
    AllowanceSpent   the next step might pass a limit of the allowance; the search ends before it, and can be resumed
    JobFailed        a child process ended without a result; the trial becomes a failed one, the search goes on

Everything else is a bug of ours: it leaves the search as a traceback and is not swallowed.
"""

from langchain_core.tools import ToolException


class Refused(ToolException):
    """The call was understood and not obeyed. `kind` is the class of the reason, the text is for the model.

    `directive` is the one that forbids it, if one does.
    """

    def __init__(self, kind: str, sentence: str, directive: int | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.directive = directive


class Unavailable(ToolException):
    """What was asked for does not exist and will not."""


class Interrupted(Exception):  # not an error: the user's wish
    """The search is being stopped; nothing finished is lost."""


class AllowanceSpent(Exception):  # not an error: a limit that the user set
    """What comes next might take more money, hours or tokens than are left; the text says which."""


class JobFailed(RuntimeError):
    """A training or an evaluation ended without a result; the text is the reason that is stored."""
