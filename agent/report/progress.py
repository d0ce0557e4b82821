"""What a running search says: events as JSON lines for scripts, lines and a progress bar for people. Decides nothing.

Every event is ``{"event": NAME, "time": ISO-8601 UTC, "search": ID, …}``; the shapes stand in docs/json.md.
"""

from time import monotonic
from typing import Any

from rich.console import Console

from agent.report.console import foreign
from agent.report.under_way import UnderWay
from diffusion.spec import widths
from diffusion.units import format_size
from diffusion.verdicts import if_measured

PLAIN_SHARES = 4  # without a terminal a training says how far it is so many times, whatever the time

PHASES = {
    "starting": "getting ready to score",
    "network": "loading the feature network",
    "reference": "features of the real images",
    "sampling": "sampling",
    "features": "features of the samples",
    "distance": "comparing the features",
}
COUNTED = ("reference", "sampling", "features")  # the others are not done image by image

CHOOSING = "choosing"
CHOSEN = ("trial.started", "strategy.proposed", "compress.progress", "round.finished", "search.finished")

Bar = tuple[int, int | None]  # of a trial, or of a replica of it by its seed


class Lines(UnderWay):
    """Lines for people; on a terminal a bar shows each training or sampling under way.

    Where `several` trials are under way at once, each line about one of them says which. `best` is what is best when
    it begins: (score, trial, metric).
    """

    def __init__(self, console: Console, several: bool = False, best: tuple[float, int, str] | None = None) -> None:
        super().__init__(console)
        self.several = several
        self.said: dict[Bar, int] = {}
        self.best, self.round, self.rounds = best, 0, 0

    def __call__(self, event: str, **values: Any) -> None:
        """Say one event."""
        name = "on_" + event.replace(".", "_")
        with self.lock:
            if event in CHOSEN:
                self._end(CHOOSING)
            if say := getattr(self, name, None):
                say(values)

    def standing(self) -> str:
        """How far it is and what is best, for the line above the bars: what was printed scrolls away."""
        rounds = f"round {self.round} of {self.rounds}" if self.round else f"baseline, then {self.rounds} rounds"
        said = [rounds] if self.rounds else []
        if self.best:
            score, trial, metric = self.best
            said.append(f"best so far {metric} {score:.4g} (trial {trial})")
        return ", ".join(said)

    def on_search_started(self, values: dict[str, Any]) -> None:
        """How many rounds there will be."""
        self.rounds = values["settings"].get("rounds", 0)

    def on_round_started(self, values: dict[str, Any]) -> None:
        """The head of a round."""
        self.round = values["round"]
        self.line(f"[bold]Round {values['round']}[/bold]" + (" (baseline)" if values["round"] == 0 else ""))
        self._show(CHOOSING, "  choosing what comes next" if values["round"] else "  getting ready", CHOOSING)

    def on_trial_refused(self, values: dict[str, Any]) -> None:
        """A refusal and why."""
        self.line(f"  [yellow]refused[/yellow] {foreign(values['reason'])}")

    def on_fallback(self, values: dict[str, Any]) -> None:
        """The classical proposal takes over, and says so."""
        self.line(
            f"  [yellow]fallback[/yellow] {foreign(values['reason'])}; a random feasible neighbour is tried instead"
        )

    def on_trial_started(self, values: dict[str, Any]) -> None:
        """The candidate, its cost, its proposer and the reason."""
        cost = f"{format_size(values['macs']['paper'])} MACs, {format_size(values['params'])} params"
        spec = f"[bold]{values['spec']}[/bold]  widths {widths(values['spec'])}"
        self.line(f"  trial {values['trial']}  {spec}  {cost}  by {foreign(values['proposer'])}")
        self.line(f"  [dim]{foreign(values['reason'] or '')}[/dim]")
        if not values.get("cached"):
            self._await(values, "training begins")

    def on_train_progress(self, values: dict[str, Any]) -> None:
        """How far a training is."""
        label = f"training, loss {values['loss']:.4f}, {values['images_per_second']:.0f} images/s"
        if values.get("peak_share"):
            label += f", {values['peak_share']:.0%} of peak"
        self._advance(values, label, values["step"], values["total_steps"], shares=True)

    def on_trial_trained(self, values: dict[str, Any]) -> None:
        """The end of a training."""
        self._end_bar(values)
        loss = "" if values["loss"] is None else f", loss {values['loss']:.4f}"
        self.line(f"{self._whose(values)}trained {values['step']} steps in {values['device_seconds']:.0f} s{loss}")

    def on_score_progress(self, values: dict[str, Any]) -> None:
        """How far the features of the real images are, then the sampling, and so on."""
        total = values["total_images"] if values["phase"] in COUNTED else None
        self._advance(values, PHASES.get(values["phase"], values["phase"]), values["images"], total)

    def on_trial_scored(self, values: dict[str, Any]) -> None:
        """The score."""
        self._end_bar(values)
        interval = "" if values["ci95"] is None else " ({:.4g} to {:.4g})".format(*values["ci95"])
        against = if_measured(values["verdict"]["baseline"], ", {}")
        score = f"{values['metric']} [bold]{values['rfid']:.4g}[/bold]{interval}{against}"
        if self.best and values["rfid"] < self.best[0]:
            score += ", [bold]the best so far[/bold]"
        if self.best is None or values["rfid"] < self.best[0]:
            self.best = values["rfid"], values["trial"], values["metric"]
        self.line(f"{self._whose(values)}[green]scored[/green] {score}")

    def on_replica_started(self, values: dict[str, Any]) -> None:
        """Another training of a spec that was trained before."""
        self.line(f"  [dim]trial {values['trial']} again with seed {values['seed']}, to know what is noise[/dim]")
        self._await(values, "training begins")

    def on_replica_scored(self, values: dict[str, Any]) -> None:
        """Its score."""
        self._end_bar(values)
        found = f"{values['metric']} {values['rfid']:.4g} (seed {values['seed']})"
        self.line(f"{self._whose(values)}[green]scored[/green] {found}")

    def on_replica_failed(self, values: dict[str, Any]) -> None:
        """Why it has none."""
        self._end_bar(values)
        self.line(f"{self._whose(values)}[red]failed[/red] with seed {values['seed']}: {foreign(values['reason'])}")

    def on_race_started(self, values: dict[str, Any]) -> None:
        """Who is trained again, before one is called best."""
        self.line(f"[bold]Race[/bold] of {', '.join(values['finalists'])}: up to {values['seeds']} further seeds each")

    def on_race_skipped(self, values: dict[str, Any]) -> None:
        """Why nobody is trained again."""
        self.line(f"[bold]No race[/bold]: {foreign(values['why'])}")

    def on_race_finished(self, values: dict[str, Any]) -> None:
        """What may be said after it."""
        self.line(f"  recommended: [bold]{values['recommended']}[/bold]. {foreign(values['why'])}")

    def on_trial_failed(self, values: dict[str, Any]) -> None:
        """A failure and why."""
        self._end_bar(values)
        self.line(f"{self._whose(values)}[red]failed[/red] {foreign(values['reason'])}")

    def on_trial_rung(self, values: dict[str, Any]) -> None:
        """How a training compares with the others on its way."""
        self._end_bar(values)
        if not values["pruned"]:
            self.line(f"{self._whose(values)}[dim]goes on: {foreign(values['why'])}[/dim]")
            self._show(_bar_of(values), f"{self._whose(values)}training goes on", "training")

    def on_trial_pruned(self, values: dict[str, Any]) -> None:
        """A training that was stopped early, and why."""
        self.line(f"{self._whose(values)}[yellow]stopped early[/yellow]: {foreign(values['reason'])}")

    def on_train_note(self, values: dict[str, Any]) -> None:
        """What a training had to do otherwise than asked."""
        self.line(f"{self._whose(values)}[dim]{foreign(values['text'])}[/dim]")

    def on_llm_call(self, values: dict[str, Any]) -> None:
        """Only a call that failed is worth a line."""
        if values.get("error"):
            self.line(f"  [yellow]{foreign(values['model'])}[/yellow] {foreign(values['error'])}")

    def on_directive_added(self, values: dict[str, Any]) -> None:
        """What the user told the search."""
        self.line(f"  heard [cyan]directive {values['directive']}[/cyan]: {foreign(values['text'])}")

    def on_directive_removed(self, values: dict[str, Any]) -> None:
        """What the user took back."""
        self.line(f"  [cyan]directive {values['directive']}[/cyan] taken back: {foreign(values['text'])}")

    def on_directive_obeyed(self, values: dict[str, Any]) -> None:
        """What was carried out, and what came of it."""
        self.line(
            f"  [cyan]directive {values['directive']}[/cyan], {foreign(values['text'])}: {foreign(values['what'])}"
        )

    def on_compress_progress(self, values: dict[str, Any]) -> None:
        """How far the search for a student is."""
        error = "" if values["error"] is None else f", error {values['error']:.4f}"
        self._advance(values, f"{values['phase']}{error}", values["step"], values["total_steps"], shares=True)

    def on_compress_searched(self, values: dict[str, Any]) -> None:
        """What the search for a student has found."""
        self._end_all()
        lost = "" if values["loss"] is None else f", predicted to lose {values['loss']:.4g}"
        size = f"{format_size(values['macs_paper'])} MACs, {format_size(values['params'])} params"
        self.line(f"  [bold]{values['method']}[/bold]  {size}{lost}")

    def on_compress_scored(self, values: dict[str, Any]) -> None:
        """One score of a teacher or a student."""
        self._end_all()
        self.line(
            f"  trial {values['trial']}  [green]scored[/green] {values['metric']} [bold]{values['rfid']:.4g}[/bold]"
        )

    def on_compress_failed(self, values: dict[str, Any]) -> None:
        """Why there is no student."""
        self._end_all()
        self.line(f"  [red]failed[/red] {foreign(values['reason'])}")

    def on_search_finished(self, values: dict[str, Any]) -> None:
        """Leave the terminal tidy; the summary follows."""
        self._end_all()

    def _whose(self, values: dict[str, Any]) -> str:
        """How a line about a trial begins."""
        return f"  trial {values['trial']}  " if self.several else "  "

    def _await(self, values: dict[str, Any], label: str) -> None:
        """Something begins that tells how far it is when it has come somewhere."""
        self.said[_bar_of(values)] = 0
        self._advance(values, label, 0, None)

    def _advance(self, values: dict[str, Any], label: str, done: int, total: int | None, shares: bool = False) -> None:
        """How far a step of a trial is; without a terminal some `shares` of all are told whatever the time."""
        bar, seed = _bar_of(values), "" if values.get("seed") is None else f"seed {values['seed']}, "
        phase = values.get("phase", "training")
        label = self._whose(values) + seed + label
        step = self._show(bar, label, phase, done, total, eta_seconds=values.get("eta_seconds"))
        if total is None:
            return
        if self.console.is_terminal:
            self._draw(bar, step)
        elif shares and (share := done * PLAIN_SHARES // total) > self.said.get(bar, 0):
            self.said[bar] = share
            self._say(step, monotonic())

    def _end_bar(self, values: dict[str, Any]) -> None:
        """Take the bar of a training away, and with the last one the whole display."""
        self._end(_bar_of(values))


def _bar_of(values: dict[str, Any]) -> Bar:
    return values["trial"], values.get("seed")
