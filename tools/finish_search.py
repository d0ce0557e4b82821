"""The tool that ends a search early."""

from typing import Annotated

from pydantic import Field
from sqlite_utils import Database

from memory.directives import DirectiveRow, all_directives, cite
from memory.redaction import redact
from memory.trials import rounds_done
from tools.arguments import Arguments, Runtime, model_tool
from tools.context import SearchContext
from tools.errors import Refused

REASON_CHARACTERS = 300


class FinishArguments(Arguments):
    """What `finish_search` takes."""

    reason: Annotated[str, Field(min_length=1, description="One sentence: why more rounds would not help.")]


def finish(context: SearchContext, reason: str) -> str:
    """Note the wish to end; the loop ends the search after this call.

    Raises:
        Refused: no proposed spec was tried yet, or a directive of the user asks for more.
    """
    db = context.db
    if rounds_done(db, context.search) < 1:
        raise Refused("too_early", "Only the baseline has been tried; propose at least one spec with train_ract first.")
    if wanted := _wanted(db, context.search):
        cite(db, wanted.id, context.round_number, "refused to end the search")
        raise Refused("directive", f"{wanted.name} is not carried out yet; go on with the next round.", wanted.id)
    context.services.finish_reasons.append(redact(" ".join(reason.split()))[:REASON_CHARACTERS])
    return "The search ends here."


def _wanted(db: Database, search: int) -> DirectiveRow | None:
    """A directive that asks for a spec that was not tried yet, or for more rounds: there the latest one counts."""
    directives = all_directives(db, search)
    waiting = [each for each in directives if each.kind == "try" and each.state == "active"]
    rounds = [each for each in directives if each.kind == "rounds" and each.state != "undone"][-1:]
    short = [each for each in rounds if rounds_done(db, search) < each.arguments["rounds"]]
    return next(iter(waiting + short), None)


@model_tool("finish_search", FinishArguments)
def finish_search(reason: str, runtime: Runtime) -> tuple[str, dict[str, object]]:
    """End the whole search before its rounds are used up: only where further ones would not help, since they are lost.

    Refused before a proposed spec was tried, and while a directive of the user asks for more rounds.
    """
    return finish(runtime.context, reason), {}
