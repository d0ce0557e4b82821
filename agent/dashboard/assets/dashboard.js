/* The page: asks for news whenever the server says that something changed, and draws what is another. The figures are
 * those of the report, from the same functions. */
/* global Charts, Page, Chat, Searches */
(() => {
  "use strict";
  const FIRST_WAIT = 500, LONGEST_WAIT = 15000; // milliseconds until the next try to connect
  const COLUMNS = ["trial", "round", "spec", "widths", "score", "95 % interval", "MACs paper", "MACs total", "params", "state", "against the baseline", "proposed by", "why"];
  const SHOWN_ROUNDS = 100; // of the log, until more are asked for
  const DRAWN = ["trials", "seeds", "refusals", "directives", "curves"];
  const $ = (id) => document.getElementById(id);
  const { element } = Chat;

  let epoch = "", have = 0, shown = null, isAsking = false, isDue = false, data = null;
  const empty = () => ({ about: null, fronts: { paper: [], total: [] }, effects: [], ...Object.fromEntries(DRAWN.map((name) => [name, []])), kept: {} });
  const wanted = () => decodeURIComponent(location.hash.slice(1));
  const chosen = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;

  /** Ask for what is new; one request at a time, and once more if something changed meanwhile. */
  async function ask() {
    if (isAsking) return void (isDue = true);
    isAsking = true;
    try {
      do {
        isDue = false;
        const query = new URLSearchParams({ epoch, have, shown: shown ?? 0, ...(wanted() ? { search: wanted() } : {}) });
        const answer = await fetch(`/news?${query}`);
        if (answer.ok) take(await answer.json());
        else told(await answer.text());
      } while (isDue);
    } catch {
      // the socket says that there is no connection
    }
    isAsking = false;
  }

  function told(text) {
    $("empty").textContent = text;
    $("empty").hidden = !text;
    $("shown").hidden = Boolean(text);
  }

  function take(news) {
    [epoch, have] = [news.epoch, news.version];
    $("memory").textContent = `Memory: ${news.memory}`;
    Searches.take(news.list);
    if (news.search == null) {
      shown = null;
      return told(news.why ?? "This memory holds no search yet; start one above, or with diffnas-agent run.");
    }
    told("");
    if (news.whole || news.search !== shown) reset(news.search);
    merge(news.shown);
    if (!wanted()) history.replaceState(null, "", `#${encodeURIComponent(data.about.name)}`); // a later one does not push it aside
    Searches.mark(news.search);
    Chat.show(news.search);
    draw(news.shown);
    Chat.questions(news.questions);
  }

  function reset(number) {
    shown = number;
    data = empty();
    $("trials").tBodies[0].replaceChildren();
    $("log-rounds").replaceChildren();
    $("grids").replaceChildren();
    $("which").value = "";
    $("trial-told").textContent = "";
    limit = SHOWN_ROUNDS;
  }

  /** Put what is new beside what is known. */
  function merge(news) {
    Object.assign(data, news.values);
    for (const name of new Set([...Object.keys(news.rows), ...Object.keys(news.orders)])) {
      const rows = (data.kept[name] ??= new Map());
      for (const [key, row] of news.rows[name] ?? []) rows.set(key, row);
      if (news.orders[name]) data.kept[name] = new Map(news.orders[name].map((key) => [key, rows.get(key)]));
      data[name] = [...data.kept[name].values()];
    }
  }

  function draw(news) {
    const is = (...names) => names.some((name) => name in news.values || name in news.rows || name in news.orders);
    if (is("about", "said", "counts", "running")) drawHead();
    if (is("trials")) drawTable(news.rows.trials ?? []);
    if (is("trials", "refusals")) drawLog();
    if (is("directives")) drawDirectives();
    if (is("messages")) Chat.remembered((news.rows.messages ?? []).map(([, row]) => row));
    if (is("about", "trials", "fronts", ...DRAWN)) drawFigures(is("trials", "about", "seeds", "refusals", "directives"), is("curves"), is("effects"));
    if (is("trials") && !$("which").value) showTrial(data.said.recommended ?? data.trials[0]?.trial, false);
  }

  function drawHead() {
    const { about, said } = data, isLive = ["running", "paused"].includes(about.state);
    document.title = `${about.name}: ${about.rounds_done} of ${about.rounds}, ${about.state}`;
    $("name").textContent = about.name;
    $("goal").textContent = said.goal;
    $("outcome").textContent = said.result;
    $("outcome-more").replaceChildren(...said.more.map((line) => element("p", line)));
    $("state").textContent = about.reason && about.reason !== about.state ? `${about.state}: ${about.reason}` : about.state;
    $("pause").disabled = about.state !== "running";
    $("resume").disabled = about.state === "running" || about.state === "finished";
    $("stop").disabled = !isLive;
    if (!isLive) $("stop-asks").hidden = true;
    $("rounds").max = Math.max(about.rounds, 1);
    $("rounds").value = about.rounds_done;
    $("rounds-told").textContent = `${about.rounds_done} of ${about.rounds}`;
    $("running").replaceChildren(
      ...data.running.map((each) => element("li", `Round ${each.round}, trial ${each.trial}, ${each.spec}: ${each.doing}${each.step ? `, step ${each.step} of ${each.steps}` : ""}`)),
    );
    const trials = Object.entries(data.counts).filter(([, count]) => count).map(([state, count]) => `${count} ${state}`).join(", ");
    const facts = [
      ["trials and proposals", trials || "none yet"],
      ["data", `${about.dataset}, ${about.resolution}×${about.resolution}×${about.channels}`],
      ["budget", `${d3.format(".4~s")(about.budget_macs)} MACs (${about.count})`],
      ["who proposes", `${about.searcher} (${about.backend})`],
      ["metric", about.metric],
      ["protocol", about.protocol],
    ];
    $("facts").replaceChildren(...facts.map(([label, value]) => {
      const box = element("div");
      box.append(element("dt", label), element("dd", value));
      return box;
    }));
    const count = document.querySelector(`input[name=count][value=${about.count}]`);
    if (!chosen("count")) count.checked = true;
  }

  function rowOf(trial) {
    const row = element("tr", null, { id: `trial-${trial.trial}` });
    trial.cells.forEach((text, index) => {
      const cell = element("td", index ? text : null, index === trial.cells.length - 1 ? { className: "long" } : {});
      if (!index) {
        const button = element("button", text, { type: "button", ariaLabel: `Show trial ${text}` });
        button.addEventListener("click", () => showTrial(trial.trial, true));
        cell.append(button);
      }
      row.append(cell);
    });
    return row;
  }

  let sort, sift;
  function drawTable(changed) {
    const body = $("trials").tBodies[0], listed = new Set(data.trials.map((each) => `trial-${each.trial}`));
    for (const [, trial] of changed) {
      const row = rowOf(trial), known = $(row.id);
      if (known?.classList.contains("picked")) row.classList.add("picked");
      known ? known.replaceWith(row) : body.append(row);
    }
    if (body.rows.length > listed.size) for (const row of [...body.rows]) if (!listed.has(row.id)) row.remove();
    sort();
    sift();
  }

  let limit = SHOWN_ROUNDS;
  function drawLog() {
    const rounds = new Map(), at = (number) => rounds.get(number) ?? rounds.set(number, { lines: [], title: "" }).get(number);
    for (const each of data.refusals) {
      const round = at(each.round);
      round.lines.push(`${each.proposer} proposed${each.spec ? ` ${each.spec}` : ""}; refused (${each.kind}): ${each.why}`);
      round.title = `${round.lines.length} refused`;
    }
    for (const each of data.trials) {
      const round = at(each.round), outcome = each.score == null ? each.state : each.cells[4];
      round.lines.push(`${each.proposer}: ${each.reason || "no reason was given"}`);
      round.lines.push(each.score == null ? `${each.state}${each.error ? `: ${each.error}` : ""}` : `scored ${data.about.metric} ${each.cells[4]} (${each.cells[5]})`);
      round.title = `${each.spec}, ${outcome}`;
    }
    const order = [...rounds.keys()].sort((a, b) => b - a), before = $("log-rounds"), made = [];
    for (const number of order.slice(0, limit)) {
      const { title, lines } = rounds.get(number), text = JSON.stringify([title, lines]);
      let box = before.querySelector(`details[data-round="${number}"]`);
      if (box?.told !== text) {
        const isOpen = box?.open ?? false;
        box = element("details", null, { open: isOpen, told: text });
        box.dataset.round = number;
        const list = element("ul");
        list.append(...lines.map((line) => element("li", line)));
        box.append(element("summary", `Round ${number}: ${title}`), list);
      }
      made.push(box);
    }
    if (order.length > limit) {
      const more = element("button", `Show the ${order.length - limit} earlier rounds`, { type: "button" });
      more.addEventListener("click", () => ((limit = Infinity), drawLog()));
      made.push(more);
    }
    before.replaceChildren(...made);
  }

  function drawDirectives() {
    $("no-directives").hidden = data.directives.length > 0;
    $("directives").replaceChildren(
      ...[...data.directives].reverse().map((each) => {
        const item = element("li"), text = element("span", `${each.directive}. ${each.says} `, { className: each.state === "active" ? "" : "over" });
        const seen = each.round == null ? "not obeyed yet" : `obeyed since round ${each.round}`;
        text.append(element("small", `${each.state === "active" ? "in force" : each.state}, ${seen}; “${each.text}”`));
        item.append(text);
        if (each.state === "active") {
          const undo = element("button", "Undo", { type: "button", ariaLabel: `Undo directive ${each.directive}` });
          undo.addEventListener("click", () => ((undo.disabled = true), Chat.say(`/undo ${each.directive}`)));
          item.append(undo);
        }
        return item;
      }),
    );
  }

  function drawFigures(main = true, curves = true, effects = true) {
    if (!data?.about || $("shown").hidden) return;
    const place = (id, make) => Page.place(id, (options) => make({ ...options, onPick: (trial) => showTrial(trial, true) }));
    if (main) {
      place("score-by-cost", (options) => Charts.scoreByCost(data, { ...options, count: chosen("count") }));
      place("course-figure", (options) => Charts.course(data, { ...options, by: chosen("by") }));
    }
    $("no-curves").hidden = data.curves.length > 0;
    if (curves && data.curves.length) place("curves-figure", (options) => Charts.trainingCurves(data, options));
    $("effects").hidden = !data.effects.length;
    if (effects && data.effects.length) {
      const shared = Charts.effectDomain(data.effects);
      $("effect-figures").replaceChildren(
        ...data.effects.map((found) => {
          const figure = element("figure", null, { ariaLabel: found.label });
          figure.append(Charts.effect(found, { width: 260, ...shared }));
          return figure;
        }),
      );
    }
  }

  /** The samples of a trial, and its row. */
  async function showTrial(number, isPicked) {
    const trial = data?.kept.trials?.get(number), search = shown;
    if (!trial) return;
    $("which").value = number;
    if (isPicked) Page.pick(number);
    $("trial-told").textContent = `Trial ${number}, round ${trial.round}: ${trial.spec}, ${trial.score == null ? trial.state : `score ${trial.cells[4]}`}, by ${trial.proposer}.`;
    const answer = await fetch(`/searches/${search}/samples/${number}`).catch(() => null);
    if (!answer) return; // the socket says that there is no connection
    if (search !== shown || Number($("which").value) !== number) return;
    if (!answer.ok) return void $("grids").replaceChildren(element("p", await answer.text()));
    const seeds = await answer.json();
    $("grids").replaceChildren(
      ...(seeds.length ? seeds.map((seed) => gridOf(search, number, seed)) : [element("p", "No images of this trial are kept: they are drawn when it is scored, and a table of results has none.", { className: "dim" })]),
    );
  }

  function gridOf(search, number, seed) {
    const figure = element("figure"), image = element("img", null, { src: `/searches/${search}/samples/${number}/${seed}`, alt: `Images drawn by trial ${number}` });
    figure.append(element("figcaption", `Noise of seed ${seed}`), image);
    return figure;
  }

  /** One socket says that there is news; when it breaks, it is tried again, ever later. */
  let wait = FIRST_WAIT;
  function listen() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/notices`);
    socket.addEventListener("open", () => {
      wait = FIRST_WAIT;
      line("live");
    });
    socket.addEventListener("message", ask);
    socket.addEventListener("close", () => {
      line("not connected; trying again");
      setTimeout(listen, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    });
  }

  function line(text) {
    $("line").textContent = text;
    $("line").dataset.live = text === "live" ? "yes" : "no";
  }

  $("columns").append(...COLUMNS.map((name) => {
    const head = element("th", null, { scope: "col" });
    head.append(element("button", name, { type: "button" }));
    return head;
  }));
  sort = Page.sortable($("trials"));
  sift = Page.filtered($("trials"), $("filter"), $("count"));
  Chat.begin();
  Searches.begin((name) => (location.hash = encodeURIComponent(name)));
  document.querySelectorAll("button[data-says]").forEach((button) => button.addEventListener("click", () => (($("stop-asks").hidden = true), Chat.say(button.dataset.says))));
  $("stop").addEventListener("click", () => (($("stop-asks").hidden = false), $("stop-no").focus()));
  $("stop-no").addEventListener("click", () => (($("stop-asks").hidden = true), $("stop").focus()));
  $("which").addEventListener("change", () => showTrial(Number($("which").value), true));
  $("best-one").addEventListener("click", () => showTrial(data.said.recommended, true));
  $("baseline-one").addEventListener("click", () => showTrial(data.trials.find((each) => each.round === 0)?.trial, true));
  document.querySelectorAll("input[name=count], input[name=by]").forEach((input) => input.addEventListener("change", () => drawFigures(true, false, false)));
  addEventListener("hashchange", () => {
    shown = null;
    ask();
  });
  let width = document.body.clientWidth;
  addEventListener("resize", () => {
    if (Math.abs(document.body.clientWidth - width) > 8) {
      width = document.body.clientWidth;
      drawFigures();
    }
  });
  ask();
  listen();
})();
