/* The list of searches, and the form that starts one. */
/* global Chat */
const Searches = (() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const { element } = Chat;
  const known = new Map();

  function listed(each) {
    const item = element("li"), link = element("a", null, { href: `#${encodeURIComponent(each.name)}` });
    link.append(element("b", each.name));
    link.append(element("small", `${each.kind}, ${each.state}: ${each.round} of ${each.rounds} rounds`));
    const bar = element("progress", null, { max: Math.max(each.rounds, 1), value: each.round, ariaLabel: `Rounds of ${each.name}` });
    link.append(bar);
    const doing = each.doing.map((trial) => `trial ${trial.trial} is ${trial.doing}`).join(", ");
    const best = each.best ? `best ${d3.format(".4~g")(each.best.score)}, ${each.best.spec}` : "no score yet";
    link.append(element("small", doing || best));
    item.append(link);
    return item;
  }

  /** Take in what is new; gives the list in its order. */
  function take(news) {
    for (const [key, row] of news.rows.searches ?? []) known.set(key, row);
    if (news.orders.searches) for (const key of known.keys()) if (!news.orders.searches.includes(key)) known.delete(key);
    const order = [...known.values()].sort((a, b) => isLive(b) - isLive(a) || b.search - a.search);
    if (news.rows.searches || news.orders.searches) $("searches").replaceChildren(...order.map(listed));
    return order;
  }

  const isLive = (each) => Number(each.state === "running" || each.state === "paused");

  /** Mark the one that is shown. */
  function mark(number) {
    for (const link of $("searches").querySelectorAll("a")) {
      const name = decodeURIComponent(link.hash.slice(1));
      if (known.get(number)?.name === name) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  function freeName() {
    const names = new Set([...known.values()].map((each) => each.name)), stem = $("begin").elements.preset.value || "search";
    let number = 1;
    while (names.has(`${stem}-${number}`)) number++;
    return `${stem}-${number}`;
  }

  function begin(opened) {
    const form = $("begin"), said = $("begin-said");
    $("new").addEventListener("toggle", () => {
      if ($("new").open && !form.elements.name.value) form.elements.name.value = freeName();
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const settings = {}, button = form.querySelector("button");
      for (const [name, value] of new FormData(form)) if (name !== "more" && value.trim()) settings[name] = value.trim();
      for (const line of form.elements.more.value.split("\n").filter((each) => each.trim())) {
        const [name, ...value] = line.split("=");
        settings[name.trim()] = value.join("=").trim();
      }
      button.disabled = true;
      said.textContent = "It begins; that takes some seconds …";
      try {
        const answer = await Chat.post("/searches", { key: Chat.newKey(), settings });
        said.textContent = answer.ok ? (await answer.json()).said : await answer.text();
        if (answer.ok) {
          opened(settings.name);
          form.elements.name.value = "";
        }
      } catch {
        said.textContent = "No connection to the dashboard; look whether the search is in the list before you try again.";
      }
      button.disabled = false;
    });
  }

  return { take, mark, begin, known };
})();
