"""Image data sets on the Hugging Face hub, or in its cache on this machine; what can go wrong, in one sentence each.

The hub's client is asked for nothing but the data set. Without a network it is told so at once, since it would try for
half a minute before it looks into its cache. What the pictures become stands in `diffusion.data.pictures`.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.data.pictures import Picture, Source, decode, first_line
from diffusion.errors import UserError
from diffusion.under_way import under_way
from diffusion.units import printable

TEST_SPLITS = ("test", "validation", "valid", "val")
PROBE_SECONDS = 10  # what huggingface_hub itself allows for the answer to a file's head (HF_HUB_ETAG_TIMEOUT)
SERVER_FAILS = 500  # the first HTTP status that says so
TOO_MANY_REQUESTS = 429


def load_hugging_face(typed: str, identifier: str, resolution: int | None, instead: str) -> Source:
    """The ``train`` and the ``test`` or ``validation`` split of a data set on the hub or in its cache.

    Args:
        typed: what the user typed, for the sentences.
        identifier: ``owner/name``, or ``owner/name:config`` where a data set has several configurations.
        resolution: what the pictures are fitted to; None leaves their size.
        instead: what else the user can do if the data set cannot be had, for the end of a sentence.

    Raises:
        UserError: there is no network, no such data set, no image column, or a picture is unfit.
    """
    with under_way(f"asking Hugging Face for {printable(identifier)}"):
        splits = _splits(typed, identifier, instead)
    train_name = "train" if "train" in splits else next(iter(splits))
    test_name = next((name for name in TEST_SPLITS if name in splits and name != train_name), None)
    column = _image_column(typed, splits[train_name])
    train = Pictures(typed, train_name, splits[train_name], column)
    test: Iterable[Picture] = Pictures(typed, test_name, splits[test_name], column) if test_name else []
    return decode(typed, train, test, resolution)


def _splits(typed: str, identifier: str, instead: str) -> Any:
    """A `datasets.DatasetDict`."""
    import datasets
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    path, _, config = identifier.partition(":")
    if path in _PACKAGED_DATASETS_MODULES:  # "imagefolder" would read the working folder
        raise UserError(f"'{typed}' is a file format of Hugging Face's library, not a data set; {instead}")
    why_offline = _why_offline()
    try:
        with _quiet_hub(), _cache_alone(why_offline is not None):
            return datasets.load_dataset(path, config or None)
    except Exception as error:  # others' loader on others' data: whatever it raises is about this data set
        raise UserError(_what_failed(typed, error, why_offline, instead)) from error


def _what_failed(typed: str, error: Exception, why_offline: str | None, instead: str) -> str:
    """The sentence for a failed load; the hub's answer decides, since the client wraps and renames it."""
    from datasets.exceptions import DatasetNotFoundError

    causes = list(_causes(error))
    refusal = next((cause for cause in causes if _http_status(cause)), None)
    status = _http_status(refusal) if refusal else 0
    if "gated dataset" in str(error):
        return f"'{typed}' asks for consent on its page at Hugging Face; give it there and set HF_TOKEN, or {instead}"
    if isinstance(error, DatasetNotFoundError):
        return f"'{typed}' names no data set on Hugging Face ({first_line(error)}); {instead}"
    if status == TOO_MANY_REQUESTS or status >= SERVER_FAILS:
        return f"'{typed}' cannot be had, since Hugging Face answers with HTTP {status}; try again later, or {instead}"
    if status:
        return (
            f"'{typed}' names no data set on Hugging Face that may be read (HTTP {status}{_words(refusal)}); {instead}"
        )
    if any(_is_network_failure(cause) for cause in causes):
        return (
            f"'{typed}' is not in the local Hugging Face cache and there is no network to load it over "
            f"({why_offline or first_line(error)}); connect, or {instead}"
        )
    if "pick one among the available configs" in str(error):
        available = printable(str(error).splitlines()[1].partition(":")[2].strip(" []"))
        return f"'{typed}' has several configurations ({available}); name one as in {typed}:NAME"
    return f"'{typed}' cannot be loaded from Hugging Face: {first_line(error.__cause__ or error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from or while handling, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> int:
    """The status of the hub's answer, 0 if there was none."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status if isinstance(status, int) else 0


def _words(refusal: BaseException | None) -> str:
    """What the hub said beside the status, such as that the token is wrong."""
    message = getattr(refusal, "server_message", None)
    return f": {printable(str(message).splitlines()[0])}" if message else ""


def _is_network_failure(error: BaseException) -> bool:
    """Whether the hub could not be reached, with whichever of its HTTP libraries the installed client works."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        names & {"TransportError", "LocalEntryNotFoundError"}
    )


def _why_offline() -> str | None:
    """Why the hub cannot be asked; None if it answers, be it with an error."""
    import datasets
    from huggingface_hub import constants, get_session

    if datasets.config.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception as error:  # what else is wrong, such as the address, the client says when it loads
        return first_line(error) if _is_network_failure(error) else None
    return None


@contextmanager
def _cache_alone(offline: bool) -> Iterator[None]:
    """Let the client look into its cache alone where the hub does not answer; it tries seven times otherwise."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """No line for each of the hub client's retries: what came of them is said in one sentence."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def _image_column(typed: str, split: Any) -> str:
    from datasets import Image

    for name, feature in split.features.items():
        if isinstance(feature, Image):
            return str(name)
    columns = printable(", ".join(split.features))
    raise UserError(f"'{typed}' has no column of images, only {columns}; choose a data set of images")


@dataclass(frozen=True)
class Pictures:
    """The encoded pictures of one split, one after the other."""

    typed: str
    split_name: str
    split: Any
    column: str

    def __len__(self) -> int:
        return len(self.split)

    def __iter__(self) -> Iterator[Picture]:
        from datasets import Image

        encoded = self.split.select_columns([self.column]).cast_column(self.column, Image(decode=False))
        for index, row in enumerate(encoded):
            entry, name = row[self.column], f"{self.split_name}[{index}]"
            if entry is None:
                raise UserError(f"'{self.typed}': {name} holds no image; choose a data set without gaps")
            yield Picture(name, Path(entry["path"]) if entry["bytes"] is None else entry["bytes"])
