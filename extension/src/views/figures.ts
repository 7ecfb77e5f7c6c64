// The five figures one looks at first: traffic, latency, errors, drift, quality.

import { changes, h, replace, type Child, type View } from "../dom";
import { brief, count, duration, durationParts, percent, plural, rate, score } from "../format";
import type { Picture } from "../picture";

interface Figure {
  title: string;
  value: string;
  unit: string;
  detail: Child[];
  tone: "plain" | "attention";
}

export function figures(): View<Picture> {
  const element = h("ul", { class: "mm-figures", "aria-label": "Key figures" });
  const changed = changes();
  return {
    element,
    update(picture) {
      const shown = [traffic(picture), latency(picture), errors(picture), drift(picture), quality(picture)];
      if (changed(shown)) replace(element, ...shown.map(tile));
    },
  };
}

function tile({ title, value, unit, detail, tone }: Figure): HTMLElement {
  return h(
    "li",
    { class: "mm-figure", "data-tone": tone },
    h("span", { class: "mm-figure-title" }, title),
    h("span", { class: "mm-figure-value mm-num" }, value, unit ? h("small", {}, ` ${unit}`) : null),
    h("span", { class: "mm-muted mm-num" }, ...detail),
  );
}

function traffic({ efficiency: { throughput, requests, rows } }: Picture): Figure {
  const many = rows !== null && requests !== null && rows !== requests;
  return {
    title: "Traffic",
    value: rate(throughput),
    unit: throughput === null ? "" : "req/s",
    detail: [many ? `${brief(requests)} requests, ${brief(rows)} rows` : `${count(requests)} requests`],
    tone: "plain",
  };
}

function latency({ efficiency: { latency_ms } }: Picture): Figure {
  const [value, unit] = durationParts(latency_ms.p95);
  return {
    title: "Latency, p95",
    value,
    unit,
    detail: [`p50 ${duration(latency_ms.p50)} · p99 ${duration(latency_ms.p99)}`],
    tone: "plain",
  };
}

function errors({ efficiency: { errors: failed, error_rate, requests } }: Picture): Figure {
  const [value = "–", unit = ""] = percent(error_rate).split(/ (?=%)/);
  return {
    title: "Errors",
    value,
    unit,
    detail: [failed === null ? "no data" : failed === 0 ? "none" : `${count(failed)} of ${count(requests)}`],
    tone: failed ? "attention" : "plain",
  };
}

function drift({ features }: Picture): Figure {
  const judged = features.filter(({ drifted }) => drifted !== null);
  const drifted = judged.filter(({ drifted: yes }) => yes);
  const worst = drifted[0];
  return {
    title: "Drifted features",
    value: judged.length ? String(drifted.length) : "–",
    unit: judged.length ? `of ${judged.length}` : "",
    detail: [
      worst ? `most: ${worst.name}` : judged.length ? "all as in training" : `not judged yet`,
    ],
    tone: drifted.length ? "attention" : "plain",
  };
}

function quality({ quality: measured }: Picture): Figure {
  const metric = measured?.metrics.find(({ value }) => value !== null);
  if (!measured || !metric) {
    const labels = measured?.labels ?? 0;
    return {
      title: "Quality",
      value: "–",
      unit: "",
      detail: [labels ? `${plural(labels, "label")}: too few yet` : "no labels yet"],
      tone: "plain",
    };
  }
  const { value, reference, name, worse } = metric;
  return {
    title: `Quality, ${name}`,
    value: score(value),
    unit: "",
    detail: [reference === null ? `${percent(measured.coverage)} labelled` : `${score(reference)} in testing`],
    tone: worse ? "attention" : "plain",
  };
}
