"""Examples of every command, for its ``--help``: what is typed after the program's name, and what that does.

Each is read by the parser in the tests, values included, so that none can be wrong for long.
"""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "run": (
        ("run --preset digits", "handwritten digits that come along; no key, no download"),
        ("run --preset digits --llm openai:gpt-4.1 --max-cost 2", "a model proposes, for 2 dollars"),
        ("run --dataset pictures/ --budget 2G --dry-run", "your own images: what would be done"),
        ("run --bench unetbench --rounds 20", "results from a table: a search in seconds"),
    ),
    "resume": (
        ("resume", "the latest search, exactly where it was"),
        ("resume first --rounds 20", "a search by its name, with more rounds"),
    ),
    "status": (
        ("status", "the latest search"),
        ("status first --watch", "shown anew until it ends"),
        ("status first --json", "for a script"),
    ),
    "list": (("list", "all searches, the latest first"),),
    "compare": (("compare --bench unetbench --searchers gp,random --seeds 10", "two searchers on the same ten seeds"),),
    "compress": (("compress 3 --target 0.5", "the network of trial 3 with half of its MACs and parameters"),),
    "generate": (
        ("generate --preset digits --budget 2M --count 8", "eight specs within a budget, the most promising first"),
    ),
    "flops": (
        ("flops b128-n2-m1.2.2.2-a0100", "what a spec costs, stage by stage"),
        ("flops b128-n3-m1.2.2.2-a0110 --family iddpm --verify", "the same of an IDDPM, counted in the built network"),
    ),
    "train": (
        ("train b16-n1-m1.2.2.2-a0100 --preset digits", "one network by hand, scored"),
        ("train b16-n1-m1.2.2.2-a0100 --snapshot-steps 300", "its weights at step 300, too"),
    ),
    "evaluate": (
        ("evaluate 3", "trial 3 again, as its search scores it"),
        ("evaluate 3 --sampler ddpm --sampling-steps 400", "and under another protocol"),
    ),
    "sample": (
        ("sample 3 --num-images 16", "sixteen images of trial 3"),
        ("sample my-model --seed 7", "and of a folder that export wrote"),
    ),
    "export": (
        ("export first my-model", "the model that a search recommends, as diffusers loads it"),
        ("export 3 my-model --replace", "that of trial 3, over an earlier export"),
    ),
    "report": (
        ("report", "the latest search as one HTML file"),
        ("report first --compare second", "a search beside another"),
    ),
    "dashboard": (
        ("dashboard", "every search as a live page, with the chat, on this machine alone"),
        ("dashboard --host 0.0.0.0 --token auto", "for others as well, who then need the token"),
    ),
    "export-study": (("export-study first sqlite:///study.db", "for optuna-dashboard sqlite:///study.db"),),
    "audit": (("audit", "the four models of the paper, counted in both ways"),),
    "chat": (
        ("chat", "about the latest search"),
        ("chat first --llm openai:gpt-4.1", "a search by its name; a model answers"),
        ("chat --begin '--preset digits'", "begin a search, and talk about it"),
    ),
    "confirm": (
        ("confirm", "the best of the latest search, in full, with three seeds"),
        ("confirm --search first --top 2 --seeds 5", "the best two, with five seeds each"),
    ),
    "doctor": (
        ("doctor", "whether everything is there that a search needs"),
        ("doctor --llm openai:gpt-4.1", "and how reliably a model calls tools, in twenty cases"),
    ),
    "strategy": (
        ("strategy --study first --cost 0.5 --rounds 6", "a rapid strategy at half the cost, by a rank study"),
    ),
    "replay": (("replay first", "every prompt and gate again: what differs from the record"),),
    "fork": (("fork first --at 3 --llm offline", "the first three rounds, then another proposer"),),
    "rank-study": (
        ("rank-study first --specs 24", "how well short trainings rank 24 networks"),
        ("rank-study --preset digits --dry-run", "what that would train"),
    ),
    "memory top": (
        ("memory top", "the best trials of all searches"),
        ("memory top --limit 5 --json", "five of them, for a script"),
    ),
    "memory pareto": (("memory pareto first", "what none beats in both cost and score"),),
    "memory failures": (("memory failures first", "what failed or was refused, and why"),),
    "memory show": (("memory show 3", "everything about trial 3"),),
    "memory sql": (('memory sql "SELECT spec, rfid FROM results ORDER BY rfid"', "any question, read-only"),),
}


def epilog(command: str) -> str:
    """The examples of a command as its help shows them: a line for what one does, and below it what is typed."""
    lines = [line for typed, does in EXAMPLES[command] for line in (f"  {does}:", f"    diffnas-agent {typed}")]
    return "\b\n" + "\n".join(["Examples:", *lines])  # \b: the parser leaves the lines as they are
