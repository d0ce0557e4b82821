"""A search driven from Python: begun with a directive, read, gone on with, and its best exported.

    python examples/from_python.py [FOLDER]

Everything is done by the functions behind the commands, so whatever is done here can be looked at, chatted with and
resumed by `diffnas-agent` in that folder, and the other way round. `drive` handles Ctrl-C, so it wants the main thread.
The networks are tiny and train for seconds: the point is which functions there are and what they take.
"""

import sys
import tempfile
from pathlib import Path

from agent.config.sources import resolve
from agent.search.begin import go_on, open_run
from agent.search.drive import drive
from agent.search.plan import plan
from agent.trials.export import export_trial
from memory.connection import opened
from memory.directives import add_directive
from memory.queries.records import best, top_records

TINY = {"train_steps": 20, "batch_size": 16, "num_images": 32, "sampling_steps": 5, "replicas": 1, "race_trainings": 0}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="diffnas-"))
    db = folder / "diffnas.db"

    # Settings have the names that they have everywhere (docs/configuration.md); these win over files and environment.
    settings = resolve(
        {
            "preset": "digits", "budget": "2M", "baseline": "b8-n1-m1.1.1.1-a0000", "searcher": "local", "rounds": 1,
            "db": db, "out": folder / "runs", **TINY,
        }
    )  # fmt: skip
    planned = plan(settings.config)  # reads the data and checks everything; nothing is trained yet
    with opened(db) as memory:
        search = open_run(memory, planned)
        add_directive(memory, search, "freeze", {"parameter": "attn_0", "value": 0}, "no attention at full resolution")
    code = drive(search, planned, as_json=False)  # as `diffnas-agent run`; its exit code

    with opened(db, read_only=True) as memory:
        for record in best(memory, search, limit=None):
            told = f"{record['spec']} scores {record['rfid']:.4g} at {record['macs']['paper']:,} MACs"
            print(f"trial {record['trial']}: {told}")

    if code == 0:
        code = go_on(db, None, {"rounds": 2}, as_json=False)  # as `diffnas-agent resume --rounds 2`
    with opened(db, read_only=True) as memory:
        first = top_records(memory)[0]  # over all searches of the memory, under one protocol
    found = export_trial(db, first["trial"], folder / "model", step=None, replace=True, beside=lambda *_: None)
    print(f"exported: {found.folder}")
    sys.exit(code)


if __name__ == "__main__":
    main()
