/* The report: draws every figure from the data in the page, again when the width, a switch or the paper changes. */
/* global Charts, Page */
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const chosen = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;

  function draw() {
    const count = chosen("count"), by = chosen("by");
    Page.place("score-by-cost", (options) => Charts.scoreByCost(data, { ...options, count }));
    Page.place("course-figure", (options) => Charts.course(data, { ...options, by }));
    Page.place("curves-figure", (options) => Charts.trainingCurves(data, options));
    const shared = Charts.effectDomain(data.effects);
    data.effects.forEach((found) => Page.place(`effect-${found.parameter}`, (options) => Charts.effect(found, { ...options, ...shared })));
    data.findings.forEach((finding) =>
      finding.figures.forEach((figure, index) =>
        Page.place(`${finding.anchor}-figure-${index}`, (options) => Charts[figure.draws](figure, { ...options, count })),
      ),
    );
  }

  draw();
  document.querySelectorAll("input[name=count], input[name=by]").forEach((input) => input.addEventListener("change", draw));
  let width = document.body.clientWidth;
  addEventListener("resize", () => {
    if (Math.abs(document.body.clientWidth - width) > 8) {
      width = document.body.clientWidth;
      draw();
    }
  });
  document.querySelectorAll("table.sortable").forEach(Page.sortable);
  const trials = document.getElementById("trials");
  if (trials) Page.filtered(trials, document.getElementById("filter"), document.getElementById("shown"));
  Page.copying(document);
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((each) => (each.open = true));
  });
  addEventListener("afterprint", () => opened.forEach((each) => (each.open = false)));
})();
