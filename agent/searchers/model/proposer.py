"""The proposer `llm`: a LangChain agent with our tools plays one round; its thread is kept until the round is over.

It does not know what a round is worth or when the search ends; `agent.search.loop` does. A backend that cannot be
reached is said as `BackendError`, never swallowed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.backends.asking import Asking
from agent.backends.chain import Chain
from agent.backends.errors import BackendError
from agent.backends.recorder import Recorder
from agent.backends.registry import Address, Backend, make_chain
from agent.config.settings import RunConfig
from agent.searchers.model.digest import round_values, system_values
from agent.searchers.model.middleware import Asks, KeepGoing, RoundEnd
from memory.connection import checkpoint_connection
from memory.journal import snapshot
from prompts.origin import origin
from prompts.render import render
from tools.context import SearchContext
from tools.count_flops import count_flops
from tools.evaluate_fid import evaluate_fid
from tools.finish_search import finish_search
from tools.query_memory import query_memory
from tools.train_ract import train_ract

TOOLS: list[BaseTool] = [count_flops, train_ract, evaluate_fid, query_memory, finish_search]
STEPS_PER_ROUND = 500  # far above what the middleware allows; a bug of ours should end, too


class LLMProposer:
    """Plays rounds with a chat model: with which tools, and what ends a round, is the class's."""

    tools: ClassVar[list[BaseTool]] = TOOLS
    round_end: ClassVar[type[RoundEnd]] = RoundEnd
    suggests: ClassVar[bool] = False  # whether it sees the surrogate

    def __init__(self, backends: Sequence[Backend], rounds: int, retries: int, retry_seconds: float) -> None:
        self.chain, self.rounds = Chain(backends, retries, retry_seconds), rounds

    def propose(self, context: SearchContext) -> None:
        """Let the model play the round of the context, or go on with it where a killed process left it.

        Raises:
            BackendError: the backend gave no usable answer, retries included.
            Interrupted: the user stops the search.
        """
        thread = f"{context.search}-{context.round_number}"
        with checkpoint_connection(checkpoint_path(context.db_path)) as connection:
            serde = JsonPlusSerializer(allowed_msgpack_modules=None)  # plain JSON types only, no revival of objects
            saver = SqliteSaver(connection, serde=serde)
            saver.delete_thread(f"{context.search}-{context.round_number - 1}")
            try:
                self._play(context, self._agent(context, saver), thread)
            except BackendError:
                saver.delete_thread(thread)
                raise
            saver.delete_thread(thread)

    def _play(self, context: SearchContext, agent: Any, thread: str) -> None:
        """The round from its prompt, or from the step at which a killed process left it."""
        config: RunnableConfig = {
            "configurable": {"thread_id": thread},
            "max_concurrency": 2,  # one worker waits for the stream, one runs the tools: calls run one by one
            "recursion_limit": STEPS_PER_ROUND,
        }
        pending = agent.get_state(config).next
        start = None if pending else {"messages": [self._round_prompt(context)]}
        for _ in agent.stream(start, config, context=context, stream_mode="updates", durability="sync"):
            pass

    def _agent(self, context: SearchContext, saver: SqliteSaver) -> Any:
        asking = Asking(self.chain, self.tools, Recorder(context, "propose", self.tools), context.services.stop)
        return create_agent(
            self.chain.backends[0].model,
            self.tools,
            system_prompt=self._system_prompt(context),
            middleware=[
                self.round_end(),
                KeepGoing(self.tools),
                *self.more_middleware(),
                Asks(asking),
            ],
            context_schema=SearchContext,
            checkpointer=saver,
        )

    def more_middleware(self) -> list[AgentMiddleware[Any, SearchContext]]:
        """What else stands between the model and its tools."""
        return []

    def _system_prompt(self, context: SearchContext) -> SystemMessage | None:
        with snapshot(context.db) as moment:
            text = render("system", **system_values(context, self.rounds, suggests=self.suggests))
        return SystemMessage(text, additional_kwargs=origin("system", moment=moment))

    def _round_prompt(self, context: SearchContext) -> HumanMessage:
        db = context.db
        with snapshot(db) as moment:
            text = render("round", **round_values(db, context))
        return HumanMessage(text, additional_kwargs=origin("round", moment=moment))

    @classmethod
    def of(cls, config: RunConfig, first: Address | None = None) -> Self:
        """The proposer of a search with the backends of its settings; `first` stands in for the first of them.

        Raises:
            UserError: one of the backends cannot be used from here.
        """
        backends = make_chain(config, "propose", first)
        return cls(backends, config.search.rounds, config.backend.llm_retries, config.backend.llm_retry_seconds)


def checkpoint_path(db_path: Path) -> Path:
    """LangGraph's checkpoints lie beside the memory, in a file of their own."""
    return db_path.with_name(f"{db_path.stem}.threads{db_path.suffix}")
