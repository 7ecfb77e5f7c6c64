// Quality: each metric's value with its interval, beside what it was in testing.

import { changes, h, replace, s, type View } from "../dom";
import { count, percent, score } from "../format";
import type { Picture, QualityMetric } from "../picture";

export function quality(): View<Picture> {
  const subtitle = h("span", { class: "mm-muted mm-num" });
  const body = h("div", { class: "mm-metrics" });
  const element = h(
    "section",
    { class: "mm-panel mm-quality", "aria-label": "Model quality" },
    h("div", { class: "mm-panel-head" }, h("h3", {}, "Quality"), subtitle),
    body,
  );
  const changed = changes();
  return {
    element,
    update({ quality: measured, endpoint }) {
      if (!changed([measured, endpoint])) return;
      if (!measured || !measured.labels) {
        subtitle.textContent = "no labels yet";
        replace(
          body,
          h("p", { class: "mm-muted mm-empty" }, "What the model got right is known once the truth comes in:"),
          h("p", { class: "mm-empty" }, h("code", {}, `%mlops_feedback ${endpoint} --labels labels`)),
        );
        return;
      }
      subtitle.textContent = `${count(measured.labels)} labels, ${percent(measured.coverage)} of predictions`;
      replace(body, titles(), ...measured.metrics.map(row));
    },
  };
}

const WIDTH = 160;
const HEIGHT = 22;

function titles(): HTMLElement {
  const words = ["metric", "now", "interval", "", "in testing"];
  const cells = words.map((word) => h("span", {}, word));
  cells[1]?.classList.add("mm-metric-value");
  return h("div", { class: "mm-metric mm-metric-head", "aria-hidden": "true" }, ...cells);
}

function row(metric: QualityMetric): HTMLElement {
  const { name, value, low, high, reference, worse } = metric;
  const interval = low === null || high === null ? "" : `${score(low)} – ${score(high)}`;
  return h(
    "div",
    { class: "mm-metric", "data-worse": worse ? "yes" : null },
    h("span", { class: "mm-metric-name", title: name }, name),
    h("span", { class: "mm-num mm-metric-value" }, score(value)),
    h("span", { class: "mm-num mm-muted" }, interval),
    range(metric),
    h("span", { class: "mm-num mm-muted" }, worse ? h("b", { class: "mm-mark", title: "worse than in testing, by more than chance" }, "◆ ") : null, score(reference)),
  );
}

/** Interval as a bar, value as a dot, the reference as a tick, on a scale that holds them all. */
function range({ name, value, low, high, reference }: QualityMetric): SVGElement {
  const known = [value, low, high, reference].filter((x): x is number => x !== null);
  const drawing = s("svg", {
    class: "mm-interval",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    width: WIDTH,
    height: HEIGHT,
    role: "img",
    "aria-label": `${name}: ${score(value)}, interval ${score(low)} to ${score(high)}, in testing ${score(reference)}`,
  });
  if (known.length === 0 || value === null) return drawing;
  const least = Math.min(...known);
  const most = Math.max(...known);
  const pad = (most - least || Math.abs(value) || 1) * 0.25;
  const x = (v: number): number => 4 + ((v - least + pad) / (most - least + 2 * pad)) * (WIDTH - 8);
  const middle = HEIGHT / 2;
  drawing.append(s("line", { class: "mm-rail", x1: 0, x2: WIDTH, y1: middle, y2: middle }));
  if (low !== null && high !== null) {
    drawing.append(
      s("rect", { class: "mm-band", x: x(low), y: middle - 4, width: Math.max(2, x(high) - x(low)), height: 8, rx: 4 }),
    );
  }
  if (reference !== null) {
    drawing.append(s("line", { class: "mm-tick", x1: x(reference), x2: x(reference), y1: 2, y2: HEIGHT - 2 }));
  }
  drawing.append(s("circle", { class: "mm-dot", cx: x(value), cy: middle, r: 5 }));
  return drawing;
}
