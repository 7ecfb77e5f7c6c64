// Traffic and latency over time, drawn by uPlot.

import uPlot from "uplot";
import { h, replace, type View } from "../dom";
import { brief, clock, count, duration, moment } from "../format";
import type { Picture, Series } from "../picture";
import { colour } from "../theme";

interface Line {
  label: string;
  key: Exclude<keyof Series, "t">;
  colour: string;
  dash?: number[];
  bars?: boolean;
  format(value: number | null | undefined): string;
}

interface Timeline {
  title: string;
  unit(series: Series): string;
  lines: Line[];
  tick(value: number): string;
}

const HEIGHT = 148;

export const traffic = (): View<Picture> =>
  timeline({
    title: "Traffic",
    unit: (series) => {
      const step = stepOf(series);
      return step ? `requests per ${step >= 60 ? `${Math.round(step / 60)} min` : `${Math.round(step)} s`}` : "requests";
    },
    lines: [
      { label: "requests", key: "requests", colour: "current", bars: true, format: count },
      { label: "errors", key: "errors", colour: "attention", bars: true, format: count },
    ],
    tick: brief,
  });

export const latency = (): View<Picture> =>
  timeline({
    title: "Latency",
    unit: () => "",
    lines: [
      { label: "p50", key: "p50", colour: "current", format: duration },
      { label: "p95", key: "p95", colour: "second", dash: [6, 3], format: duration },
      { label: "p99", key: "p99", colour: "third", dash: [2, 3], format: duration },
    ],
    tick: (value) => duration(value),
  });

function timeline({ title, unit, lines, tick }: Timeline): View<Picture> {
  const subtitle = h("span", { class: "mm-muted" });
  const legend = h("span", { class: "mm-legend mm-num" });
  const canvas = h("div", { class: "mm-canvas", role: "img" });
  const nothing = h("p", { class: "mm-muted mm-nothing" }, "no data in this window");
  const element = h(
    "section",
    { class: "mm-panel mm-timeline", "aria-label": title },
    h("div", { class: "mm-panel-head" }, h("h3", {}, title), subtitle, h("span", { class: "mm-gap" }), legend),
    canvas,
    nothing,
  );
  const values = lines.map(() => h("b", {}));
  const at = h("span", { class: "mm-muted mm-at" });
  replace(
    legend,
    at,
    ...lines.map((line, i) =>
      h("span", { class: "mm-legend-item" }, sample(line), line.label, " ", values[i]),
    ),
  );

  let series: Series | null = null;
  let range: [number, number] = [0, 1];
  let plot: uPlot | null = null;
  let theme: string | undefined;

  const tell = (index: number | null | undefined): void => {
    if (!series) return;
    const hovered = index !== null && index !== undefined;
    const i = hovered ? index : series.t.length - 1;
    at.textContent = hovered ? clock(series.t[i]) : "";
    lines.forEach((line, k) => {
      const node = values[k];
      if (node && series) node.textContent = line.format(series[line.key][i]);
    });
  };

  const make = (): void => {
    plot?.destroy();
    plot = new uPlot(options(element, canvas, lines, tick, () => range, tell), data(series, lines), canvas);
  };

  const fit = (): void => {
    const width = canvas.clientWidth;
    if (width > 0 && plot && plot.width !== width) plot.setSize({ width, height: HEIGHT });
  };
  const resize = new ResizeObserver(fit);
  resize.observe(canvas);

  return {
    element,
    update(picture) {
      series = picture.series;
      range = rangeOf(picture);
      subtitle.textContent = unit(series);
      const known = lines.some(({ key }) => picture.series[key].some((value) => value !== null));
      canvas.hidden = !known;
      nothing.hidden = known;
      canvas.setAttribute("aria-label", describe(title, series, lines));
      const now = element.closest<HTMLElement>(".mlops-monitor")?.dataset["theme"];
      if (!element.isConnected) {
        requestAnimationFrame(() => element.isConnected && this.update(picture));
        return;
      }
      if (!plot || now !== theme) make();
      else plot.setData(data(series, lines));
      theme = now;
      fit(); // a chart that was made while out of sight did not know its place's width
      if (plot?.cursor.idx === null || plot?.cursor.idx === undefined) tell(null);
    },
    dispose() {
      resize.disconnect();
      plot?.destroy();
    },
  };
}

function data(series: Series | null, lines: Line[]): uPlot.AlignedData {
  if (!series) return [[], ...lines.map(() => [])];
  const [first, ...rest] = lines.map(({ key }) => series[key]);
  if (!first) return [series.t];
  return [series.t, first, ...rest.map((values, i) => (lines[i + 1]?.bars ? visible(values, first) : values))];
}

/** One error among a thousand requests is less than a pixel: such bars get a height one can see. */
function visible(values: (number | null)[], beside: (number | null)[]): (number | null)[] {
  const least = Math.max(1, ...beside.map((value) => value ?? 0)) * 0.04;
  return values.map((value) => (value ? Math.max(value, least) : value));
}

function stepOf({ t }: Series): number {
  let least = Infinity;
  for (let i = 1; i < t.length; i++) least = Math.min(least, (t[i] ?? 0) - (t[i - 1] ?? 0));
  return Number.isFinite(least) ? least : 0;
}

/** The asked window, but never so wide that the data are a sliver at its end. */
function rangeOf({ since, until, as_of, series: { t } }: Picture): [number, number] {
  const end = until ?? as_of;
  const start = since ?? t[0] ?? end - 3600;
  const first = t[0];
  if (first === undefined) return [start, end];
  const seen = Math.max(120, end - first);
  return [Math.max(start, end - seen * 1.08), end];
}

function options(
  host: HTMLElement,
  canvas: HTMLElement,
  lines: Line[],
  tick: (value: number) => string,
  range: () => [number, number],
  tell: (index: number | null | undefined) => void,
): uPlot.Options {
  const grid = { stroke: colour(host, "grid"), width: 1 };
  const font = `11px ${getComputedStyle(host).fontFamily}`;
  const axis: uPlot.Axis = { stroke: colour(host, "muted"), font, ticks: { show: false } };
  return {
    width: Math.max(120, canvas.clientWidth || 400),
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      sync: { key: "mlops-monitor" },
      drag: { x: false, y: false },
      points: { size: 7 },
    },
    scales: {
      x: { time: true, range: () => range() },
      y: { range: (_, __, most) => [0, most > 0 ? most * 1.12 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 26, space: 70, values: (_, splits, __, ___, step) => splits.map((t) => tickTime(t, step)) },
      { ...axis, grid, size: 50, space: 34, gap: 6, values: (_, splits) => splits.map((value) => tick(value)) },
    ],
    series: [{}, ...lines.map((line) => stroke(line, host))],
    hooks: { setCursor: [(u) => tell(u.cursor.idx)] },
  };
}

function tickTime(t: number, step: number): string {
  if (step >= 86_400) return moment(t).split(",")[0] ?? "";
  return clock(t, step < 60);
}

function stroke(line: Line, host: HTMLElement): uPlot.Series {
  const paint = colour(host, line.colour);
  if (line.bars) {
    const paths = uPlot.paths.bars?.({ size: [0.82, 18, 1], radius: 0.12 });
    return { label: line.label, stroke: paint, fill: paint, width: 0, points: { show: false }, ...(paths ? { paths } : {}) };
  }
  return {
    label: line.label,
    stroke: paint,
    width: 1.75,
    ...(line.dash ? { dash: line.dash } : {}),
    points: { size: 5, fill: paint, width: 0 },
  };
}

/** The line as it looks in the chart, for the legend: told by its dash too, not by colour alone. */
function sample({ colour: name, dash, bars }: Line): HTMLElement {
  const style = bars ? "block" : dash ? (dash[0] === 2 ? "dotted" : "dashed") : "solid";
  return h("span", { class: "mm-sample", "data-colour": name, "data-style": style, "aria-hidden": "true" });
}

function describe(title: string, series: Series, lines: Line[]): string {
  const last = series.t.length - 1;
  if (last < 0) return `${title}: no data`;
  const parts = lines.map((line) => `${line.label} ${line.format(series[line.key][last])}`);
  return `${title} over time, ${series.t.length} points; latest: ${parts.join(", ")}`;
}
