/* The chat: each line has a key and is sent again until the server has dealt with it, so that none is lost or doubled.
 * What was not dealt with lies in the browser's storage, beside the number of its search. */
const Chat = (() => {
  "use strict";
  const WAIT = 1000, LONGEST_WAIT = 15000; // milliseconds between two tries
  const $ = (id) => document.getElementById(id);
  let search = null;
  const turns = new Map(); // elements by key, of what this tab has sent or was told
  const asked = new Map(); // open questions by name
  const sending = new Set();

  const outbox = (number) => `diffnas-unsent-${location.host}-${number}`;
  const unsent = (number) => JSON.parse(localStorage.getItem(outbox(number)) ?? "[]");
  const keep = (number, list) => (list.length ? localStorage.setItem(outbox(number), JSON.stringify(list)) : localStorage.removeItem(outbox(number)));
  const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  function element(tag, text, more = {}) {
    const found = document.createElement(tag);
    Object.assign(found, more);
    if (text != null) found.textContent = text;
    return found;
  }

  function post(path, body) {
    return fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  }

  function bubble(who, mine) {
    const log = $("said"), atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
    const box = element("div", null, { className: mine ? "message mine" : "message" });
    box.append(element("b", who));
    log.append(box);
    if (atEnd || mine) log.scrollTop = log.scrollHeight;
    return box;
  }

  const toEnd = () => ($("said").scrollTop = $("said").scrollHeight);

  /** Another search is shown. */
  function show(number) {
    if (number === search) return;
    search = number;
    turns.clear();
    asked.clear();
    $("said").replaceChildren();
    unsent(number).forEach(({ key, text }) => deliver(number, key, text));
  }

  /** Messages of the memory that are not on the page yet. */
  function remembered(messages) {
    for (const each of messages) {
      const key = each.key?.replace(/-answer$/, "") ?? "";
      if (turns.has(key) && turns.get(key).live) continue; // heard as it came
      if (turns.has(each.key)) continue;
      const box = bubble(each.role === "user" ? "You" : each.author, each.role === "user");
      box.append(element("p", each.text));
      if (each.key) turns.set(each.key, { box });
    }
  }

  /** Send a line, now or once there is a connection. */
  function say(text) {
    const key = newKey(), number = search;
    keep(number, [...unsent(number), { key, text }]);
    return deliver(number, key, text);
  }

  async function deliver(number, key, text) {
    if (sending.has(key)) return;
    sending.add(key);
    const mine = bubble("You", true);
    mine.append(element("p", text));
    const box = bubble("", false);
    turns.set(key, { box: mine, live: true });
    let wait = WAIT;
    while (!(await tried(number, key, text, box))) {
      box.replaceChildren(element("b", "Not sent yet: no connection. It is tried again."));
      await new Promise((done) => setTimeout(done, wait));
      wait = Math.min(2 * wait, LONGEST_WAIT);
    }
    keep(number, unsent(number).filter((each) => each.key !== key));
    sending.delete(key);
    if (box.childElementCount < 2 && !box.textContent) box.remove();
    if (number === search) toEnd();
  }

  /** One try; whether the server has dealt with it, be it by a refusal. */
  async function tried(number, key, text, box) {
    try {
      const answer = await post(`/searches/${number}/say`, { key, text });
      if (answer.status === 401 || answer.status >= 500) return false;
      box.replaceChildren(element("b", ""));
      if (!answer.ok) {
        box.append(element("p", await answer.text()));
        return true;
      }
      let rest = "", done = false;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done: over } = await reader.read();
        if (over) return done;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) done = heard(JSON.parse(line), box, number) || done;
        toEnd();
      }
    } catch {
      return false;
    }
  }

  /** One thing that was said to a line; whether it is over. */
  function heard(event, box, number) {
    if (event.say) event.say.forEach((line) => box.append(element("p", line)));
    if (event.asked) box.firstChild.textContent = event.asked;
    if (event.word) {
      if (box.lastChild.className !== "streamed") box.append(element("p", "", { className: "streamed" }));
      box.lastChild.textContent += event.word;
    }
    if (event.table) {
      if (box.lastChild.tagName !== "PRE") box.append(element("pre", ""));
      box.lastChild.textContent += event.table;
    }
    if (event.again) box.append(element("p", "This was dealt with before; nothing was done twice.", { className: "dim" }));
    if (event.ask) box.append(question(number, event.ask, event.text));
    if (event.answered) {
      asked.get(event.answered)?.remove();
      if (event.answer) box.append(element("p", `You answered: ${event.answer}.`, { className: "dim" }));
    }
    return event.done != null;
  }

  function question(number, name, text) {
    const box = element("div", `${text} `, { className: "ask", role: "group", ariaLabel: "Confirm" });
    const buttons = [["Confirm", true], ["No", false]].map(([label, agreed]) => {
      const button = element("button", label, { type: "button" });
      button.addEventListener("click", async () => {
        buttons.forEach((each) => (each.disabled = true));
        try {
          const answer = await post(`/searches/${number}/questions/${name}`, { agreed });
          if (answer.ok) return;
          box.append(element("span", ` ${await answer.text()}`));
        } catch {
          box.append(element("span", " No connection; try again."));
          buttons.forEach((each) => (each.disabled = false));
        }
      });
      return button;
    });
    box.append(...buttons);
    asked.get(name)?.remove();
    asked.set(name, box);
    return box;
  }

  /** Questions of other tabs, or from before this page was loaded; those that are answered go. */
  function questions(open) {
    const names = new Set(open.map((each) => each.name));
    for (const [name, box] of asked) {
      if (names.has(name)) continue;
      box.remove();
      asked.delete(name);
    }
    for (const each of open) {
      if (!asked.has(each.name)) bubble("A question is open", false).append(question(search, each.name, each.text));
    }
  }

  function begin() {
    const send = () => {
      const text = $("message").value.trim();
      if (!text || search == null) return;
      $("message").value = "";
      say(text);
    };
    $("say").addEventListener("submit", (event) => (event.preventDefault(), send()));
    $("message").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) event.preventDefault(), send();
    });
  }

  return { begin, show, remembered, questions, say, element, post, newKey };
})();
