"""A backend that gave no usable answer: whether trying again may help."""

import re

from memory.redaction import redact

TRANSIENT_STATUS = {408, 409, 425, 429}


class BackendError(RuntimeError):
    """The backend gave no usable answer. `transient`: trying again may help; `status`: the HTTP status, if any;
    `retry_after_seconds`: how long the server asks to be left alone; `may_be_billed`: an answer was given up;
    `begun`: a part of the answer was heard.
    """

    def __init__(self, error: Exception, *, begun: bool = False) -> None:
        self.begun = begun
        self.status: int | None = getattr(error, "status_code", None)
        self.retry_after_seconds = _retry_after(error)
        self.may_be_billed = "timeout" in type(error).__name__.lower()  # it was asked, and may have answered
        said = redact(" ".join(str(error).split()))  # a server may send the key back
        super().__init__(f"{type(error).__name__}: {said[:300]}")

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later: no answer at all, too many calls, or the server's own failure.

        Not where a person has read half of an answer: the next attempt would say it again.
        """
        return not self.begun and (self.status is None or self.status in TRANSIENT_STATUS or self.status >= 500)

    @property
    def refused(self) -> bool:
        """Whether the backend will refuse every call: a wrong key, no permission, no such model."""
        return self.status in (401, 403, 404)


def _retry_after(error: Exception) -> float | None:
    """The seconds of a ``Retry-After`` header; a date in it is passed over."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    text = str(headers.get("retry-after", ""))
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d+)?", text) else None
