"""What commands find, as models: ``--json`` prints their dumps, and docs/json.md has its tables from their fields."""

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer

from diffusion.cost.closed_form import Macs
from diffusion.spec import widths

Settings = TypeVar("Settings", bound=BaseModel)
Whole = Annotated[Settings, PlainSerializer(lambda found: found.model_dump(mode="json"))]  # defaults are keys too


class Result(BaseModel):
    """A result; a field that is left out when it is made is no key of the JSON object."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ShortTrial(Result):
    """A scored trial in few words."""

    trial: int
    spec: str
    widths: str
    rfid: float
    metric: str
    macs: Macs
    params: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """That of a record."""
        known = {**record, "widths": widths(record["spec"])}
        return cls.model_validate({name: known[name] for name in cls.model_fields})


def plain(found: object) -> Any:
    """A result, a list of them, or what is plain already, as JSON holds it."""
    if isinstance(found, list):
        return [plain(each) for each in found]
    return found.model_dump(mode="json", exclude_unset=True) if isinstance(found, Result) else found
