/* Figures of a search. Each function takes the page's data (agent/page/data.py) and options, and returns an element that
 * Observable Plot drew; none of them touches the page. Colours are CSS variables, so a figure follows light and dark.
 * options: width (pixels), count ("paper" or "total"), by ("time" or "round"), onPick (called with a trial's number). */
/* global Plot, d3 */
const Charts = (() => {
  "use strict";
  const COLOURS = ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)"];
  const SYMBOLS = ["circle", "square", "triangle", "diamond", "cross", "star"];
  const NARROW = 560; // pixels: fewer ticks below
  const MANY = 150; // trials, from which on their intervals are faint
  const WIDE_RANGE = 8; // the largest score over the least, from which on the axis is logarithmic

  const size = (value) => d3.format(".4~s")(value).replace("G", " G").replace("M", " M").replace("k", " K");
  const short = (value) => (value == null ? "–" : d3.format(".4~g")(value));
  const scored = (trials) => trials.filter((each) => each.score != null);
  const between = (each) => (each.low == null ? "no interval" : `${short(each.low)} to ${short(each.high)} (95 %)`);
  const frame = (options) => ({
    className: "plot",
    width: options.width ?? 900,
    marginLeft: 56,
    marginTop: 32,
    marginBottom: 40,
    style: { background: "transparent", fontSize: "12px" },
  });

  /** A domain that holds the values with some room; logarithmic where they span much. */
  function spanning(values) {
    const known = values.filter((value) => value != null && Number.isFinite(value));
    const [low, high] = d3.extent(known);
    if (low > 0 && high / low > WIDE_RANGE) return { type: "log", domain: [low / 1.15, high * 1.15], tickFormat: ".4~g" };
    const room = (high - low || Math.abs(low) || 1) * 0.06;
    return known.length ? { type: "linear", domain: [low >= 0 ? Math.max(0, low - room) : low - room, high + room] } : {};
  }

  /** The axis of scores. */
  const scoreAxis = (values, label) => ({ label: `${label} ↓ better`, grid: true, ticks: 6, ...spanning(values) });

  /** Who proposed, as colours and symbols; the baseline first. */
  function proposers(trials) {
    const names = [...new Set(trials.map((each) => each.proposer))];
    names.sort((a, b) => (b === "baseline") - (a === "baseline") || d3.ascending(a, b));
    return {
      color: { domain: names, range: names.map((_, index) => COLOURS[index % COLOURS.length]), legend: false },
      symbol: { domain: names, range: names.map((_, index) => SYMBOLS[index % SYMBOLS.length]), legend: names.length > 1 },
    };
  }

  const told = (count) => (each) =>
    [
      `trial ${each.trial}, round ${each.round}: ${each.spec}`,
      `score ${short(each.score)}, ${between(each)}`,
      `${size(each[count])} MACs (${count}), ${size(each.params)} parameters`,
      `widths ${each.widths}, by ${each.proposer}`,
    ].join("\n");

  /** A drawing as one image with a name, as readers of a screen take it: its parts have none of their own. */
  function drawn(options) {
    const figure = Plot.plot(options);
    const svg = figure.matches("svg") ? figure : figure.querySelector("svg.plot");
    svg.setAttribute("role", "img");
    for (const part of svg.querySelectorAll("[aria-label]")) {
      part.setAttribute("data-mark", part.getAttribute("aria-label"));
      part.removeAttribute("aria-label");
    }
    return figure;
  }

  /** A figure whose dots are picked with the pointer. */
  function picked(figure, options) {
    if (options.onPick) {
      figure.addEventListener("click", () => figure.value && options.onPick(figure.value.trial));
    }
    return figure;
  }

  /** Score over cost: intervals, the Pareto front, the budget, the baseline. */
  function scoreByCost(data, options = {}) {
    const count = options.count ?? data.about.count;
    const trials = scored(data.trials);
    const byTrial = new Map(trials.map((each) => [each.trial, each]));
    const front = data.fronts[count].map((trial) => byTrial.get(trial)).filter(Boolean);
    const budget = count === data.about.count && trials.length ? [data.about.budget_macs] : [];
    const marks = [
      Plot.ruleX(budget, { stroke: "var(--fg)", strokeDasharray: "6 4" }),
      Plot.text(budget, { x: (d) => d, text: () => "budget", frameAnchor: "top", textAnchor: "end", dx: -5, fill: "var(--fg)" }),
      Plot.ruleX(trials.filter((d) => d.low != null), { x: count, y1: "low", y2: "high", stroke: "proposer", strokeOpacity: trials.length > MANY ? 0.12 : 0.45 }),
      Plot.line(front, { x: count, y: "score", curve: "step-after", stroke: "var(--best)", strokeWidth: 2 }),
      Plot.dot(trials, { x: count, y: "score", stroke: "proposer", symbol: "proposer", r: 4, fill: "proposer", fillOpacity: 0.35 }),
      Plot.dot(trials.filter((d) => d.round === 0), { x: count, y: "score", r: 9, stroke: "var(--fg)", strokeWidth: 1.5 }),
      Plot.text(trials.filter((d) => d.round === 0), { x: count, y: "score", text: () => "baseline", dy: -16, fill: "var(--fg)" }),
      Plot.tip(trials, Plot.pointer({ x: count, y: "score", title: told(count) })),
    ];
    return picked(
      drawn({
        ...frame(options),
        height: 400,
        ariaLabel: `Score over multiply-accumulates (${count})`,
        x: { label: `MACs (${count}) →`, tickFormat: size, ticks: options.width < NARROW ? 4 : 8, grid: true, nice: true },
        y: scoreAxis(trials.flatMap((d) => [d.score, d.low, d.high]), data.about.metric),
        ...proposers(trials),
        marks,
      }),
      options,
    );
  }

  /** The course: every score, the best so far, refusals, directives, the race; over time or over rounds. */
  function course(data, options = {}) {
    const byTime = (options.by ?? "time") === "time";
    const at = (each) => (byTime ? new Date(each.finished ?? each.begun) : each.round);
    const trials = d3.sort(scored(data.trials), at);
    const best = [];
    for (const each of trials) {
      if (!best.length || each.score < best.at(-1).score) best.push({ at: at(each), score: each.score });
    }
    const rounds = new Map(data.trials.map((each) => [each.trial, each.round]));
    const lastRound = d3.max(data.trials, (each) => each.round) ?? 0;
    const seeds = data.seeds
      .filter((each) => each.score != null && (!byTime || each.finished))
      .map((each) => ({ ...each, at: byTime ? new Date(each.finished) : each.is_race ? lastRound + 1 : rounds.get(each.trial) ?? 0 }));
    const refusals = data.refusals.map((each) => ({ ...each, at: byTime ? new Date(each.at) : each.round }));
    const directives = data.directives
      .filter((each) => byTime || each.round != null)
      .map((each) => ({ ...each, at: byTime ? new Date(each.at) : each.round }));
    const failures = data.trials.filter((each) => ["failed", "pruned"].includes(each.state)).map((each) => ({ ...each, at: at(each) }));
    const events = [
      ...refusals.map((each) => ({ at: each.at, what: `refused in round ${each.round}: ${each.why}` })),
      ...failures.map((each) => ({ at: each.at, what: `trial ${each.trial} ${each.state}: ${each.error ?? ""}` })),
    ].map((each) => ({ ...each, what: each.what.slice(0, 160) }));
    if (best.length) best.push({ at: d3.max([trials.at(-1), ...events], (each) => each.at ?? at(each)), score: best.at(-1).score });
    const raced = seeds.filter((each) => each.is_race);
    return picked(
      drawn({
        ...frame(options),
        height: 360,
        marginTop: 44,
        marginRight: 40,
        ariaLabel: `Course of the search by ${byTime ? "time" : "round"}`,
        x: { label: byTime ? "time (UTC) →" : "round →", type: byTime ? "utc" : "linear", grid: true, ticks: options.width < NARROW ? 4 : 8, ...(byTime ? {} : { tickFormat: (d) => (Number.isInteger(d) ? String(d) : "") }) },
        y: scoreAxis([...trials, ...seeds].map((d) => d.score), data.about.metric),
        ...proposers(trials),
        marks: [
          raced.length && byTime ? Plot.rect([raced], { x1: (d) => d3.min(d, (e) => e.at), x2: (d) => d3.max(d, (e) => e.at), fill: "var(--fg)", fillOpacity: 0.07 }) : null,
          raced.length ? Plot.text([raced], { x: (d) => d3.max(d, (e) => e.at), text: () => "race", frameAnchor: "top", dy: 4, textAnchor: "end", fill: "var(--dim)" }) : null,
          Plot.ruleX(directives, { x: "at", stroke: "var(--c2)", strokeDasharray: "2 3" }),
          Plot.text(directives, { x: "at", text: (d) => `directive ${d.directive}`, frameAnchor: "top", dy: -10, fill: "var(--c2)" }),
          Plot.tip(directives, Plot.pointerX({ x: "at", frameAnchor: "top", title: (d) => `directive ${d.directive} (${d.state}): ${d.says}`, maxRadius: 8 })),
          Plot.dot(events, { x: "at", frameAnchor: "bottom", symbol: "times", dy: -6, r: 3, stroke: "var(--dim)" }),
          Plot.line(best, { x: "at", y: "score", curve: "step-after", stroke: "var(--best)", strokeWidth: 2 }),
          Plot.dot(seeds, { x: "at", y: "score", symbol: "diamond", r: 4, stroke: "var(--fg)", strokeOpacity: 0.7 }),
          Plot.dot(trials, { x: at, y: "score", stroke: "proposer", symbol: "proposer", r: 3.5, fill: "proposer", fillOpacity: 0.35 }),
          Plot.tip(events, Plot.pointer({ x: "at", frameAnchor: "bottom", dy: -6, title: "what", maxRadius: 12 })),
          Plot.tip(trials, Plot.pointer({ x: at, y: "score", title: told(data.about.count), maxRadius: 24 })),
        ],
      }),
      options,
    );
  }

  /** What one parameter seems to do: the mean score by its value, with intervals. */
  function effect(found, options = {}) {
    const values = found.means.map((each) => each.value);
    const every = Math.ceil(values.length / 7); // labels that do not run into each other
    const named = (value) => (found.parameter.startsWith("attn_") ? ["off", "on"][value] : String(value));
    return drawn({
      ...frame(options),
      width: options.width ?? 260,
      height: 160,
      marginTop: 12,
      marginLeft: 44,
      marginBottom: 34,
      ariaLabel: `Mean score by ${found.label}`,
      x: { type: "point", label: found.label, domain: values, padding: 0.6, tickFormat: (value, index) => (index % every ? "" : named(value)) },
      y: { label: null, grid: true, ticks: 4, domain: options.domain, type: options.type ?? "linear", tickFormat: ".4~g" },
      marks: [
        Plot.line(found.means, { x: "value", y: "mean", stroke: "var(--dim)", strokeDasharray: "2 3" }),
        Plot.ruleX(found.means.filter((each) => each.low != null), { x: "value", y1: "low", y2: "high", stroke: "var(--c0)", strokeWidth: 2, clip: true }),
        Plot.dot(found.means, { x: "value", y: "mean", r: 4, fill: "var(--c0)" }),
        Plot.tip(found.means, Plot.pointer({ x: "value", y: "mean", title: (d) => `${found.label} ${d.value}\nmean ${short(d.mean)}, ${between(d)}\n${d.trials} trials` })),
      ],
    });
  }

  /** The axis that all effects share. */
  function effectDomain(effects) {
    const values = effects.flatMap((each) => each.means.flatMap((d) => [d.mean, d.low ?? d.mean, d.high ?? d.mean]));
    const means = effects.flatMap((each) => each.means.map((d) => d.mean));
    const low = d3.min(means), high = d3.max(means); // an interval of three trials may be of any length
    return spanning([Math.max(d3.min(values), low / 2), Math.min(d3.max(values), high * 2)]);
  }

  /** Loss curves: the best and the baseline before the others. */
  function trainingCurves(data, options = {}) {
    const rows = data.curves.flatMap((each) => each.points.map(([step, loss]) => ({ step, loss, trial: each.trial, spec: each.spec, role: each.role })));
    const of = (role) => rows.filter((row) => row.role === role);
    const ends = data.curves.filter((each) => each.role !== "other" && each.points.length).map((each) => ({ ...each, step: each.points.at(-1)[0], loss: each.points.at(-1)[1] }));
    const many = data.curves.length > 12;
    return picked(
      drawn({
        ...frame(options),
        height: 320,
        marginRight: 64,
        ariaLabel: "Training loss over steps",
        x: { label: "optimiser steps →", grid: true, ticks: options.width < NARROW ? 4 : 8, tickFormat: "~s" },
        y: { label: "loss", labelArrow: "none", grid: true, type: "log", tickFormat: ".4~g", ticks: 5 },
        marks: [
          Plot.line(of("other"), { x: "step", y: "loss", z: "trial", stroke: "var(--dim)", strokeOpacity: many ? 0.25 : 0.5, strokeWidth: 1 }),
          Plot.line(of("baseline"), { x: "step", y: "loss", stroke: "var(--fg)", strokeWidth: 2, strokeDasharray: "5 3" }),
          Plot.line(of("best"), { x: "step", y: "loss", stroke: "var(--best)", strokeWidth: 2 }),
          ...d3.sort(ends, (d) => d.loss).map((end, index) =>
            Plot.text([end], { x: "step", y: "loss", text: "role", textAnchor: "start", dx: 6, dy: index ? -7 : 7, fill: "var(--fg)" }),
          ),
          Plot.tip(rows, Plot.pointer({ x: "step", y: "loss", title: (d) => `trial ${d.trial}${d.role === "other" ? "" : ` (${d.role})`}: ${d.spec}\nstep ${d.step}, loss ${short(d.loss)}` })),
        ],
      }),
      options,
    );
  }

  /** Lines of searchers with their intervals. */
  function regret(figure, options = {}) {
    const names = [...new Set(figure.data.map((each) => each.searcher))];
    const banded = figure.data.filter((each) => each.low != null && each.high != null);
    const positive = figure.data.every((each) => each.mean > 0);
    return drawn({
      ...frame(options),
      height: 340,
      ariaLabel: figure.title,
      x: { label: "evaluations →", grid: true },
      y: { label: "↓ better", grid: true, type: positive ? "log" : "linear", tickFormat: ".4~g", ticks: 5 },
      color: { domain: names, range: names.map((_, index) => COLOURS[index % COLOURS.length]), legend: true },
      marks: [
        Plot.areaY(banded, { x: "at", y1: (d) => (positive ? Math.max(d.low, 1e-6) : d.low), y2: "high", fill: "searcher", fillOpacity: 0.12, curve: "step-after", clip: true }),
        Plot.line(figure.data, { x: "at", y: "mean", stroke: "searcher", z: "searcher", curve: "step-after", strokeWidth: 2 }),
        Plot.tip(figure.data, Plot.pointer({ x: "at", y: "mean", title: (d) => `${d.searcher}, after ${short(d.at)}\n${short(d.mean)}, ${between(d)}` })),
      ],
    });
  }

  /** Scores by cheap trainings over those by full ones. */
  function ranking(figure, options = {}) {
    const names = [...new Set(figure.data.map((each) => each.arm))];
    return drawn({
      ...frame(options),
      height: 340,
      ariaLabel: figure.title,
      x: { ...scoreAxis(figure.data.map((d) => d.truth), "full training"), label: "score by full training →" },
      y: { ...scoreAxis(figure.data.map((d) => d.proxy), "cheap training"), label: "score by cheap training" },
      color: { domain: names, range: COLOURS.slice(0, names.length) },
      symbol: { domain: names, range: SYMBOLS.slice(0, names.length), legend: true },
      marks: [
        Plot.dot(figure.data, { x: "truth", y: "proxy", stroke: "arm", symbol: "arm", r: 4 }),
        Plot.tip(figure.data, Plot.pointer({ x: "truth", y: "proxy", title: (d) => `${d.spec}\n${d.arm} ${short(d.proxy)}, full ${short(d.truth)}` })),
      ],
    });
  }

  /** A few networks by cost and score. */
  function sizes(figure, options = {}) {
    const count = options.count ?? "paper";
    return drawn({
      ...frame(options),
      height: 260,
      marginRight: 64,
      ariaLabel: figure.title,
      x: { label: `MACs (${count}) →`, tickFormat: size, grid: true, nice: true, ticks: options.width < NARROW ? 4 : 8 },
      y: { label: "score ↓ better", grid: true, nice: true },
      marks: [
        Plot.ruleX(figure.data.filter((d) => d.low != null), { x: count, y1: "low", y2: "high", stroke: "var(--c0)", strokeWidth: 2 }),
        Plot.dot(figure.data, { x: count, y: "score", r: 5, fill: "var(--c0)" }),
        Plot.text(figure.data, { x: count, y: "score", text: "network", textAnchor: "start", dx: 9, fill: "var(--fg)" }),
      ],
    });
  }

  /** Training strategies by what they cost and how well they rank. */
  function strategies(figure, options = {}) {
    return drawn({
      ...frame(options),
      height: 300,
      ariaLabel: figure.title,
      x: { label: "cost, of the standard strategy's →", tickFormat: "~%", grid: true, nice: true, zero: true },
      y: { label: "Kendall's τ ↑ better", grid: true },
      marks: [
        Plot.ruleX(figure.data.filter((d) => d.low != null), { x: "cost", y1: "low", y2: "high", stroke: "var(--c0)" }),
        Plot.dot(figure.data, { x: "cost", y: "tau", r: 4, fill: "var(--c0)" }),
        Plot.text(figure.data, { x: "cost", y: "tau", text: (d) => String(d.strategy), textAnchor: "start", dx: 8, fill: "var(--fg)" }),
      ],
    });
  }

  return { scoreByCost, course, effect, effectDomain, trainingCurves, regret, ranking, sizes, strategies };
})();
