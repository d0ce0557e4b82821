"""A backend that gave no usable answer: whether trying again may help."""

import re
import ssl

from memory.redaction import redact

TRANSIENT_STATUS = {408, 409, 425, 429}
LASTING = {"UnsupportedProtocol", "InvalidURL"}  # by name: several HTTP clients have them
ILLEGAL_HEADER = "Illegal header"  # of a `LocalProtocolError`, which may pass otherwise


class BackendError(RuntimeError):
    """The backend gave no usable answer. `transient`: trying again may help; `status`: the HTTP status, if any;
    `retry_after_seconds`: how long the server asks to be left alone; `may_be_billed`: an answer was given up;
    `begun`: a part of the answer was heard; `lasting`: what it came from does not pass.
    """

    def __init__(self, error: Exception, *, begun: bool = False) -> None:
        self.begun = begun
        causes = _causes(error)
        statuses = (getattr(cause, "status_code", None) for cause in causes)
        self.status: int | None = next((status for status in statuses if isinstance(status, int)), None)
        self.lasting = any(_lasts(cause) for cause in causes)
        self.retry_after_seconds = _retry_after(error)
        self.may_be_billed = "timeout" in type(error).__name__.lower()  # it was asked, and may have answered
        said, why = _said(error), _said(causes[-1])
        told = f"{type(error).__name__}: {said[:300]}"
        super().__init__(told if why in told else f"{told} ({type(causes[-1]).__name__}: {why[:200]})")

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later: no answer at all, too many calls, or the server's own failure.

        Not where a person has read half of an answer: the next attempt would say it again.
        """
        if self.begun or self.lasting:
            return False
        return self.status is None or self.status in TRANSIENT_STATUS or self.status >= 500

    @property
    def refused(self) -> bool:
        """Whether every call will fail so: a wrong key, no permission, no such model, a header that cannot be sent."""
        return self.lasting or self.status in (401, 403, 404)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it came from, the root last: clients say "connection error" whatever was wrong."""
    found, cause = [error], error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found


def _lasts(error: BaseException) -> bool:
    """Whether a cause stays until somebody mends it, on this side or at the server's certificate."""
    names = {kind.__name__ for kind in type(error).__mro__}
    unsendable = "LocalProtocolError" in names and ILLEGAL_HEADER in str(error)
    return unsendable or isinstance(error, ssl.SSLCertVerificationError) or bool(names & LASTING)


def _said(error: BaseException) -> str:
    return redact(" ".join(str(error).split()))  # a server may send the key back


def _retry_after(error: Exception) -> float | None:
    """The seconds of a ``Retry-After`` header; a date in it is passed over."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    text = str(headers.get("retry-after", ""))
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d+)?", text) else None
