// One distribution: reference and current side by side, large with an axis, or small in a row.

import { h, s } from "../dom";
import { edge, percent } from "../format";
import type { Feature, Histogram } from "../picture";

const BIG = { width: 420, height: 132, left: 34, bottom: 20, top: 6 };
const SMALL = { width: 168, height: 30 };
const LABELS_AT_MOST = 6;

/** The legend of every distribution. */
export function key(): HTMLElement {
  return h(
    "span",
    { class: "mm-key" },
    h("span", { class: "mm-key-reference", "aria-hidden": "true" }),
    "training",
    h("span", { class: "mm-key-current", "aria-hidden": "true" }),
    "now",
  );
}

export function sketch(feature: Feature): SVGElement | HTMLElement {
  const { histogram } = feature;
  if (!drawable(histogram)) return h("span", { class: "mm-muted" }, "no data");
  const { width, height } = SMALL;
  const drawing = frame(feature, width, height, "mm-sketch");
  const box = { left: 0, top: 2, width, height: height - 3 };
  drawing.append(...(histogram.labels && bins(histogram) <= 12 ? bars(histogram, box) : outline(histogram, box)));
  drawing.append(s("line", { class: "mm-base", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 }));
  return drawing;
}

export function distribution(feature: Feature): SVGElement | HTMLElement {
  const { histogram } = feature;
  if (!drawable(histogram)) return h("p", { class: "mm-muted mm-empty" }, "No distribution is known.");
  const { width, height, left, bottom, top } = BIG;
  const drawing = frame(feature, width, height, "mm-distribution");
  const plot = { left, top, width: width - left, height: height - bottom - top };
  const most = peak(histogram);
  for (const part of [0, 0.5, 1]) {
    const y = plot.top + plot.height * (1 - part);
    drawing.append(
      s("line", { class: part ? "mm-grid" : "mm-base", x1: left, x2: width, y1: y, y2: y }),
      s("text", { class: "mm-axis", x: left - 5, y: y + 3.5, "text-anchor": "end" }, percent(most * part)),
    );
  }
  drawing.append(...bars(histogram, plot), ...axis(histogram, plot, height));
  return drawing;
}

type Box = { left: number; top: number; width: number; height: number };

function drawable(histogram: Histogram | null): histogram is Histogram {
  return histogram !== null && bins(histogram) > 0 && peak(histogram) > 0;
}

function bins({ reference, current }: Histogram): number {
  return Math.max(reference.length, current.length);
}

function peak({ reference, current }: Histogram): number {
  return Math.max(0, ...reference, ...current);
}

function frame(feature: Feature, width: number, height: number, style: string): SVGElement {
  return s("svg", {
    class: style,
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": describe(feature),
    "data-drifted": feature.drifted ? "yes" : null,
  });
}

/** For those who do not see it: where the mass moved most. */
function describe({ name, histogram }: Feature): string {
  if (!histogram) return `${name}: no distribution`;
  let most = 0;
  let at = 0;
  for (let i = 0; i < bins(histogram); i++) {
    const moved = Math.abs((histogram.current[i] ?? 0) - (histogram.reference[i] ?? 0));
    if (moved > most) [most, at] = [moved, i];
  }
  const was = percent(histogram.reference[at] ?? 0);
  const is = percent(histogram.current[at] ?? 0);
  return `${name}, training and now; largest change at ${binLabel(histogram, at)}: ${was} to ${is}`;
}

function bars(histogram: Histogram, box: Box): SVGElement[] {
  const n = bins(histogram);
  const most = peak(histogram);
  const step = box.width / n;
  const gap = Math.min(step * 0.18, 4);
  const half = (step - gap) / 2;
  const drawn: SVGElement[] = [];
  for (let i = 0; i < n; i++) {
    const group = s("g", {});
    const pair = [
      ["mm-reference", histogram.reference[i] ?? 0],
      ["mm-current", histogram.current[i] ?? 0],
    ] as const;
    pair.forEach(([style, value], side) => {
      const tall = value > 0 ? Math.max(1, (value / most) * box.height) : 0;
      const x = box.left + i * step + gap / 2 + side * half;
      group.append(
        s("rect", { class: style, x: x.toFixed(2), y: (box.top + box.height - tall).toFixed(2), width: Math.max(0.5, half - 0.25).toFixed(2), height: tall.toFixed(2) }),
      );
    });
    const words = `${binLabel(histogram, i)}: training ${percent(histogram.reference[i] ?? 0)}, now ${percent(histogram.current[i] ?? 0)}`;
    group.append(s("title", {}, words));
    drawn.push(group);
  }
  return drawn;
}

/** Many narrow bins in little room: the reference as a filled shape, the current as a line over it. */
function outline(histogram: Histogram, box: Box): SVGElement[] {
  const most = peak(histogram);
  const step = box.width / bins(histogram);
  const floor = box.top + box.height;
  const path = (values: number[]): string => {
    const points = values.map((value, i) => {
      const y = (floor - (value / most) * box.height).toFixed(1);
      return `V${y}H${(box.left + (i + 1) * step).toFixed(1)}`;
    });
    return `M${box.left} ${floor}${points.join("")}V${floor}`;
  };
  return [
    s("path", { class: "mm-reference", d: path(histogram.reference) }),
    s("path", { class: "mm-outline", d: path(histogram.current) }),
  ];
}

function axis(histogram: Histogram, plot: Box, height: number): SVGElement[] {
  const n = bins(histogram);
  const step = plot.width / n;
  const y = height - 6;
  if (histogram.labels) {
    const room = Math.max(3, Math.floor((step / 6.2) * (n > 12 ? Math.ceil(n / 12) : 1)));
    const every = Math.ceil(n / 12);
    return histogram.labels
      .map((label, i) => ({ label, i }))
      .filter(({ i }) => i % every === 0)
      .map(({ label, i }) =>
        s("text", { class: "mm-axis", x: plot.left + (i + 0.5) * step, y, "text-anchor": "middle" }, clip(label, room)),
      );
  }
  const edges = boundaries(histogram);
  const every = Math.ceil(edges.length / LABELS_AT_MOST);
  return edges
    .map((value, i) => ({ value, i }))
    .filter(({ value, i }) => value !== null && i % every === 0)
    .map(({ value, i }) =>
      s(
        "text",
        { class: "mm-axis", x: plot.left + i * step, y, "text-anchor": i === 0 ? "start" : i === n ? "end" : "middle" },
        edge(value),
      ),
    );
}

/** n + 1 edges of n bins; where the outermost bins are open, their outer edges are null. */
function boundaries(histogram: Histogram): (number | null)[] {
  const edges = histogram.edges ?? [];
  const n = bins(histogram);
  return edges.length === n - 1 ? [null, ...edges, null] : edges;
}

function binLabel(histogram: Histogram, i: number): string {
  if (histogram.labels) return histogram.labels[i] ?? "other";
  const edges = boundaries(histogram);
  const low = edges[i] ?? null;
  const high = edges[i + 1] ?? null;
  if (low === null && high === null) return `bin ${i + 1}`;
  if (low === null) return `below ${edge(high)}`;
  if (high === null) return `${edge(low)} and above`;
  return `${edge(low)} to ${edge(high)}`;
}

function clip(text: string, room: number): string {
  return text.length <= room ? text : `${text.slice(0, Math.max(1, room - 1))}…`;
}
