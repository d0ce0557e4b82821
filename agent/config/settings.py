"""The settings of a search. A setting is one field of a group, of `Strategy` or of `JobSettings`.

Groups are for code: ``config.places.db``. For people names are flat: ``db`` is a key of diffnas.toml, of ``--set``, of
presets and of what is stored or printed as JSON, ``DIFFNAS_DB`` a variable, ``--db`` an option. What a field says of
itself (`Setting`) makes the options, ``.env.example`` and the tables of the documentation.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.config.backend import BackendSettings
from agent.config.groups import DataSettings, Places, ScoreSettings, SearchSettings
from agent.config.screen import ScreenSettings
from diffusion.frozen import Frozen, Setting
from diffusion.settings import Strategy
from diffusion.space import SearchSpace
from diffusion.training.settings import JobSettings

PREFIX = "DIFFNAS_"
SEARCHERS = ("llm", "centaur", "random", "local", "evolution", "gp", "tpe", "cma", "nag")
"""Who may propose: a language model, a surrogate with one, and classical searchers (`agent.searchers`)."""


ONLY_TYPED = "is a searcher of your own, which is imported only where you type it: --searcher FILE.py:CLASS"


def is_own(searcher: str) -> bool:
    """Whether a searcher is one of the user's own, ``FILE.py:CLASS``."""
    return ".py:" in searcher


class RunConfig(Frozen):
    """Everything that a search can be told."""

    search: SearchSettings
    backend: BackendSettings = BackendSettings()
    data: DataSettings = DataSettings()
    strategy: Strategy = Strategy()
    score: ScoreSettings = ScoreSettings()
    jobs: JobSettings = JobSettings()
    places: Places = Places()
    screen: ScreenSettings = ScreenSettings()

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """The settings of flat names, such as those of a settings file.

        Raises:
            KeyError: a name is no setting.
            ValidationError: a value does not fit; its place is the group and the name.
        """
        groups: dict[str, dict[str, Any]] = {group: {} for group in cls.model_fields}
        for name, value in values.items():
            groups[GROUP_OF[name]][name] = value
        return cls.model_validate(groups)

    def flat(self) -> dict[str, Any]:
        """Every value by its flat name."""
        return {name: getattr(getattr(self, group), name) for name, group in GROUP_OF.items()}

    def as_json(self) -> dict[str, Any]:
        """Every value by its flat name, ready for JSON."""
        return {name: value for group in self.model_dump(mode="json").values() for name, value in group.items()}

    def changed(self, **values: Any) -> Self:
        """These settings with other values by their flat names; the values are taken as they are.

        Raises:
            KeyError: a name is no setting.
        """
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            groups.setdefault(GROUP_OF[name], {})[name] = value
        return self.model_copy(
            update={group: getattr(self, group).model_copy(update=update) for group, update in groups.items()}
        )

    @property
    def search_space(self) -> SearchSpace:
        """What each number of a spec may be."""
        return self.search.space


def setting_of(field: FieldInfo) -> Setting:
    """What a field says of itself to people."""
    return next(found for found in field.metadata if isinstance(found, Setting))


def sentence(text: str) -> str:
    """What a setting says of itself, where nothing but letters can be shown."""
    return f"{text[0].upper()}{text[1:]}.".replace("`", "")  # what begins with a name in backticks stays as it is


GROUPS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}

GROUP_OF = {name: group for group, model in GROUPS.items() for name in model.model_fields}
"""The group of every setting by its flat name, in the order in which people are shown them."""

FIELDS = {name: GROUPS[group].model_fields[name] for name, group in GROUP_OF.items()}
"""Every setting by its flat name."""


def own_options(*wanted: str) -> tuple[str, ...]:
    """The settings that have an option of their own, of groups and single names; ``-name`` leaves one out.

    Raises:
        KeyError: there is no such group or setting, or what is left out was not in.
    """
    names: dict[str, None] = {}
    for word in wanted:
        if word.startswith("-"):
            del names[word[1:]]
        elif word in GROUPS:
            names |= dict.fromkeys(name for name in GROUPS[word].model_fields if setting_of(FIELDS[name]).option)
        elif word in FIELDS:
            names[word] = None
        else:
            raise KeyError(word)
    return tuple(names)


HOW_JOBS_RUN = own_options("parallel", "jobs", "-snapshot_steps")
"""What may be another for who goes on with what was begun."""
