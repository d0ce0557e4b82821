"""Everything that is to be measured on a GPU, in one command: ``python benchmarks/on_gpu.py --out gpu-results``.

It needs `diffusion` and what that imports, but neither agent, tools nor memory, no network, and no data: images are
made up unless ``--data FILE.npz`` names some. It runs in parts, each a process of its own that takes less than nine
minutes; ``--parts smoke,step`` chooses those whose names begin so. A part that ended has a file ``NAME.json`` in
``--out`` and is not run again; ``table.md`` there holds the rows of all for docs/benchmarks.md, and is printed at the
end. What could not be measured (memory, a package or the time did not suffice) is said. Exit code 1: a row is wrong, or
a part did not end.

| part | measures |
| --- | --- |
| ``smoke`` | bf16 training, the same again, killed and resumed; sampling beside the CPU's; a score |
| ``memory`` | the estimate of a training's memory beside the peak of the allocator; a batch that does not fit |
| ``step-small``, ``step-ddpm`` | steps beside diffusers' recipe: fp32 and bf16, channels_last, share of the peak |
| ``compiled-small``, ``compiled-ddpm`` | the same compiled, the seconds of compiling, and when it pays |
| ``sampling`` | images drawn a second |
| ``features`` | images a second of each feature network |
| ``together`` | several small trainings at once, beside one |

``--tiny`` shrinks everything to try the command out; ``--device cpu`` runs it without a GPU.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "benchmarks")) if path not in sys.path]

if TYPE_CHECKING:
    from gpu.bench import Bench

PARTS = (
    "smoke", "memory", "step-small", "step-ddpm", "compiled-small", "compiled-ddpm", "sampling", "features", "together",
)  # fmt: skip
RACES = ("step", "compiled")  # many networks in one process: their memory must not splinter
SECONDS = 450.0  # after which a part begins nothing new
GRACE_SECONDS = 80.0  # after which it is ended: less than nine minutes in all


def chosen(text: str) -> list[str]:
    """The parts whose names begin with one of the words."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if not any(part.startswith(word) for part in PARTS):
            raise argparse.ArgumentTypeError(f"'{word}' begins no part's name; there are {', '.join(PARTS)}")
    return [part for part in PARTS if any(part.startswith(word) for word in words)]


def work_of(part: str) -> "Callable[[Bench], None]":
    """What a part does; only its own modules are imported."""
    name, _, case = part.partition("-")
    if case:
        from gpu import steps

        return partial(steps.step if name == "step" else steps.compiled, case=case)
    if name in ("sampling", "features"):
        from gpu import rates

        return rates.sampling if name == "sampling" else rates.features
    if name == "smoke":
        from gpu.smoke import smoke as work
    elif name == "memory":
        from gpu.memory import memory as work
    else:
        from gpu.together import together as work
    return work


def run_part(part: str, arguments: argparse.Namespace) -> None:
    """One part, in this process."""
    import torch

    from gpu.bench import Bench
    from gpu.sizes import FULL, TINY

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    bench = Bench(
        part=part,
        command=command_of(part, arguments),
        device=arguments.device,
        sizes=TINY if arguments.tiny else FULL,
        out=arguments.out,
        seconds=arguments.seconds,
        cores=cores,
        dataset=arguments.data,
        inception=arguments.inception,
    )
    bench.keep()
    work_of(part)(bench)
    bench.keep(ended=True)


def command_of(part: str, arguments: argparse.Namespace) -> str:
    """The command as whoever repeats this part types it."""
    words = ["python", "benchmarks/on_gpu.py", "--parts", part]
    words += ["--tiny"] if arguments.tiny else []
    words += ["--device", "cpu"] if arguments.device == "cpu" else []
    words += ["--data", Path(arguments.data).name] if arguments.data else []
    return shlex.join(words)


def run_apart(part: str, argv: list[str], arguments: argparse.Namespace) -> None:
    """One part in a process of its own, with an empty cache for compilers; ended when it takes too long."""
    from diffusion.training.compilation import CACHES

    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | dict.fromkeys(CACHES, cache)
        if arguments.device == "cpu":
            environment["ACCELERATE_USE_CPU"] = "true"
        if part.startswith(RACES):
            environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        command = [sys.executable, __file__, *argv, "--device", arguments.device, "--parts", part, "--here"]
        try:
            code = subprocess.run(command, env=environment, timeout=arguments.seconds + GRACE_SECONDS).returncode
            end = f"ended with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            end = "was cut off"
    if end:
        print(f"{part}: {end}", file=sys.stderr)


def device_of(asked: str | None) -> str:
    """The device, asked of a process that ends: one that looked at a GPU holds memory there."""
    if asked:
        return asked
    looking = "import torch; print('cuda' if torch.cuda.is_available() else 'none')"
    found = subprocess.run([sys.executable, "-c", looking], capture_output=True, text=True, check=True).stdout.strip()
    if found == "none":
        raise SystemExit("--device: torch finds no GPU here; write --device cpu to measure the CPU")
    return found


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--parts", type=chosen, default=list(PARTS), help="beginnings of names, with commas; default all")
    made.add_argument("--out", type=Path, default=Path("gpu-results"), help="where results are kept")
    made.add_argument("--data", metavar="FILE.npz", help="images for the trainings, instead of made-up ones")
    made.add_argument("--inception", type=Path, metavar="FILE", help="the official weights of Inception, for features")
    made.add_argument("--device", choices=["cuda", "cpu"], help="a GPU by default")
    made.add_argument("--tiny", action="store_true", help="everything small, to try the command out")
    made.add_argument("--seconds", type=float, default=SECONDS, help="after which a part begins nothing new")
    made.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # run the part in this process
    return made


def main(argv: list[str] | None = None) -> int:
    """Run what is chosen and not finished; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.out = arguments.out.resolve()
    if arguments.here:
        for part in arguments.parts:
            run_part(part, arguments)
        return 0
    from gpu.results import found, is_finished, markdown

    arguments.device = device_of(arguments.device)
    for part in arguments.parts:
        if is_finished(part, arguments.out):
            print(f"{part}: is finished", file=sys.stderr)
            continue
        print(f"{part}:", file=sys.stderr, flush=True)
        run_apart(part, argv, arguments)
    results = [result for part in PARTS if (result := found(part, arguments.out))]
    table = markdown(results, arguments.out)
    (arguments.out / "table.md").write_text(table)
    print(table)
    asked = [result for result in results if result.part in arguments.parts]
    right = len(asked) == len(arguments.parts) and all(is_finished(part, arguments.out) for part in arguments.parts)
    return 0 if right and all(row.is_right for result in asked for row in result.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
