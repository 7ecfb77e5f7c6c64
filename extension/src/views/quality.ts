// Quality: each metric's value with its interval, beside what it was in testing.

import { changes, h, replace, s, type Child, type View } from "../dom";
import { count, moment, percent, score, span } from "../format";
import type { Estimate, Picture, Quality, QualityMetric } from "../picture";

const PARTS = 4;

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
      if (measured?.labels) {
        subtitle.textContent = arrived(measured);
        replace(body, titles("now"), ...measured.metrics.map(row), ...overTime(measured), ...findings(measured));
        return;
      }
      subtitle.textContent = "no labels yet";
      replace(body, ...(measured?.estimate?.metrics.length ? expected(measured.estimate) : []), ...invitation(endpoint));
    },
  };
}

function arrived({ labels, coverage, delay }: Quality): string {
  const late = delay ? `, half of them within ${span(delay.p50)}` : "";
  return `${count(labels)} labels, ${percent(coverage)} of predictions${late}`;
}

function invitation(endpoint: string): HTMLElement[] {
  return [
    h("p", { class: "mm-muted mm-empty" }, "What the model got right is known once the truth comes in:"),
    h("p", { class: "mm-empty" }, h("code", {}, `%mlops_feedback ${endpoint} --labels labels`)),
  ];
}

/** What the scores lead to expect; said to be no more than that. */
function expected({ metrics, assumes, rows }: Estimate): HTMLElement[] {
  const values = metrics.map((one) => ({ ...one, reference: null }));
  return [
    titles("likely"),
    ...values.map(row),
    h("p", { class: "mm-muted mm-empty" }, `Expected from the scores of ${count(rows)} predictions. ${assumes}`),
  ];
}

/** What calls for a look, in sentences: concept drift, worse slices, flagged groups. */
function findings({ concept, slices, groups, estimate }: Quality): HTMLElement[] {
  const said: Child[][] = [];
  if (concept?.drifted) said.push([h("strong", {}, "Labels have left the scores. "), concept.reason]);
  for (const { column, value, rows, metrics, judged } of (slices ?? []).filter(({ worse }) => worse).slice(0, PARTS)) {
    const metric = metrics.find(({ name }) => name === judged) ?? metrics[0];
    const words = metric ? ` ${metric.name} ${score(metric.value)}, in testing ${score(metric.reference)}` : "";
    said.push([h("strong", {}, `${column} = ${value}`), words, h("span", { class: "mm-muted" }, ` (${count(rows)} labels)`)]);
  }
  for (const { column, value, reasons } of (groups ?? []).filter(({ worse }) => worse).slice(0, PARTS)) {
    said.push([h("strong", {}, `Group ${column} = ${value}`), ` ${(reasons ?? []).join("; ")}`]);
  }
  const off = (estimate?.metrics ?? []).filter(({ agrees }) => agrees === false).map(({ name }) => name);
  if (off.length) said.push([h("strong", {}, "The estimate was wrong. "), `Labels say otherwise of ${off.join(", ")}.`]);
  if (!said.length) return [];
  return [h("ul", { class: "mm-findings", "aria-label": "What calls for a look" }, ...said.map((words) => h("li", {}, h("span", { class: "mm-mark", "aria-hidden": "true" }, "◆ "), ...words)))];
}

const SERIES = { width: 420, height: 84, pad: 5, top: 20 };

/** The first metric over time, with its interval; where nothing is known there is a gap. */
function overTime({ series, metrics }: Quality): SVGElement[] {
  const [name, values] = Object.entries(series?.metrics ?? {})[0] ?? [];
  if (!series || !name || !values) return [];
  const known = [...values.value, ...values.low, ...values.high].filter((v): v is number => v !== null);
  if (values.value.filter((v) => v !== null).length < 2) return [];
  const reference = metrics.find((metric) => metric.name === name)?.reference ?? null;
  const all = reference === null ? known : [...known, reference];
  const least = Math.min(...all);
  const most = Math.max(...all);
  const { width, height, pad, top } = SERIES;
  const x = (i: number): number => pad + ((i + 0.5) / series.t.length) * (width - 2 * pad);
  const y = (v: number): number => height - pad - ((v - least) / (most - least || 1)) * (height - pad - top);
  const drawing = s("svg", { class: "mm-over-time", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} over time` });
  if (reference !== null) drawing.append(s("line", { class: "mm-tick mm-dashed", x1: 0, x2: width, y1: y(reference), y2: y(reference) }));
  let line: string[] = [];
  const flush = (): void => {
    if (line.length) drawing.append(s("polyline", { class: "mm-line-now", points: line.join(" ") }));
    line = [];
  };
  values.value.forEach((value, i) => {
    const [low, high] = [values.low[i] ?? null, values.high[i] ?? null];
    if (value === null) return flush();
    if (low !== null && high !== null) {
      drawing.append(s("line", { class: "mm-whisker", x1: x(i), x2: x(i), y1: y(low), y2: y(high) }));
    }
    drawing.append(s("circle", { class: "mm-dot", cx: x(i), cy: y(value), r: 2.5 }, s("title", {}, `${moment(series.t[i])}: ${name} ${score(value)}`)));
    line.push(`${x(i).toFixed(1)},${y(value).toFixed(1)}`);
  });
  flush();
  drawing.prepend(s("text", { class: "mm-axis", x: 0, y: 11 }, `${name} over time`));
  return [drawing];
}

const WIDTH = 160;
const HEIGHT = 22;

function titles(now: string): HTMLElement {
  const words = ["metric", now, "interval", "", "in testing"];
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
