/* What a page does with its tables and boxes: filter, sort, copy; the figures are drawn into their places. */
const Page = (() => {
  "use strict";
  const UNITS = { K: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  const NUMBER = /^(-?[\d,]*\.?\d+(?:e[-+]?\d+)?) ?([KMGT]?)(?![\w.])/;

  /** What a cell is sorted by: its number where it begins with one, else its text. */
  function sortKey(text) {
    const found = NUMBER.exec(text);
    return found ? Number(found[1].replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : text || "\uffff";
  }

  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : Number(a > b)) : typeof a === "number" ? -1 : 1);

  /** Sort a table by the column of a pressed head; again, the other way round. Gives what sorts it once more. */
  function sortable(table) {
    const sort = () => {
      const head = table.tHead.querySelector("th[aria-sort]");
      if (!head) return;
      const column = head.cellIndex, way = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[column].textContent.trim()), row]);
      rows.sort(([a], [b]) => compare(a, b) * way);
      table.tBodies[0].append(...rows.map(([, row]) => row));
    };
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("button")?.closest("th");
      if (!head) return;
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      sort();
    });
    return sort;
  }

  /** Show the rows that hold every word; how many those are is said in `output`. */
  function filtered(table, input, output) {
    const sift = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      output.textContent = `${shown} of ${table.tBodies[0].rows.length}`;
    };
    input.addEventListener("input", sift);
    sift();
    return sift;
  }

  /** Buttons that copy what stands in the element that they name. */
  function copying(root) {
    for (const button of root.querySelectorAll("button[data-copies]")) {
      button.addEventListener("click", async () => {
        const element = document.getElementById(button.dataset.copies);
        let done = false;
        try {
          await navigator.clipboard.writeText(element.textContent);
          done = true;
        } catch {
          getSelection().selectAllChildren(element); // a file may not reach the clipboard by itself
          done = document.execCommand("copy");
        }
        button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
        setTimeout(() => (button.textContent = "Copy"), 2000);
      });
    }
  }

  /** Go to the row of a trial. */
  function pick(trial) {
    const row = document.getElementById(`trial-${trial}`);
    if (!row) return;
    document.querySelector("tr.picked")?.classList.remove("picked");
    row.hidden = false;
    row.classList.add("picked");
    row.scrollIntoView({ block: "center" });
  }

  /** Put a figure into its place, as wide as that is. */
  function place(id, draw) {
    const element = document.getElementById(id);
    if (element) element.replaceChildren(draw({ width: Math.max(280, element.clientWidth), onPick: pick }));
  }

  return { sortable, filtered, copying, pick, place };
})();
