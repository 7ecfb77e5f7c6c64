// One picture for each state that the monitor can be in. Made up, and only for looking at: the
// tests take theirs from a real endpoint.

import type { Feature, Picture } from "../src/picture";

const NOW = Math.floor(Date.now() / 1000);

/** A small generator with a seed, so that two looks show the same. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

function bell(n: number, centre: number, width: number): number[] {
  const raw = Array.from({ length: n }, (_, i) => Math.exp(-(((i + 0.5) / n - centre) ** 2) / (2 * width ** 2)));
  const total = raw.reduce((a, b) => a + b, 0);
  return raw.map((v) => v / total);
}

function numeric(name: string, shift: number, psi: number, drifted: boolean | null): Feature {
  return {
    name,
    type: "numeric",
    psi,
    js: Math.sqrt(psi) / 3,
    drifted,
    nulls: { reference: 0.021, current: drifted ? 0.094 : 0.022 },
    unseen: [],
    histogram: {
      edges: Array.from({ length: 21 }, (_, i) => i * 2.4 + 0.4),
      labels: null,
      reference: bell(20, 0.42, 0.16),
      current: bell(20, 0.42 + shift, 0.16 - shift / 6),
    },
  };
}

function categorical(name: string, labels: string[], current: number[], psi: number, drifted: boolean): Feature {
  return {
    name,
    type: "categorical",
    psi,
    js: Math.sqrt(psi) / 3,
    drifted,
    nulls: { reference: 0, current: 0 },
    unseen: drifted ? ["ZZ", "QX"] : [],
    histogram: { edges: null, labels, reference: labels.map((_, i) => [0.36, 0.33, 0.2, 0.08, 0.03][i] ?? 0), current },
  };
}

function series(points: number, step: number): Picture["series"] {
  const dice = random(7);
  const t = Array.from({ length: points }, (_, i) => NOW - (points - 1 - i) * step);
  const requests = t.map((_, i) => Math.round(70 + 40 * Math.sin(i / 17) + 25 * dice()));
  const gap = (i: number): boolean => i > points * 0.62 && i < points * 0.66;
  return {
    t,
    requests: requests.map((v, i) => (gap(i) ? 0 : v)),
    errors: t.map((_, i) => (gap(i) ? 0 : i % 41 === 40 ? 9 : dice() > 0.93 ? 2 : 0)),
    p50: t.map((_, i) => (gap(i) ? null : 3.4 + dice())),
    p95: t.map((_, i) => (gap(i) ? null : 7 + 2.5 * dice())),
    p99: t.map((_, i) => (gap(i) ? null : 11 + 7 * dice())),
  };
}

const live: Picture = {
  schema: 1,
  endpoint: "flight-delay",
  state: "live",
  reason: null,
  as_of: NOW,
  since: NOW - 3600,
  until: null,
  variants: [
    { revision: 7, number: 4, variant: "champion", model: "flight-delay", version: 3, percent: 90 },
    { revision: 8, number: 5, variant: "canary", model: "flight-delay", version: 4, percent: 10 },
  ],
  efficiency: { requests: 25211, rows: 336776, errors: 96, error_rate: 0.0038, throughput: 7.02, latency_ms: { p50: 3.9, p95: 8.4, p99: 16.2 } },
  series: series(360, 10),
  features: [
    numeric("temp", 0.22, 0.912, true),
    categorical("carrier", ["UA", "B6", "EV", "DL", "other"], [0.22, 0.3, 0.2, 0.2, 0.08], 0.31, true),
    numeric("visib", -0.09, 0.204, true),
    categorical("origin", ["EWR", "JFK", "LGA"], [0.35, 0.34, 0.31], 0.018, false),
    numeric("hour", 0.015, 0.009, false),
    numeric("distance", 0.008, 0.004, false),
    numeric("wind_speed", 0.004, 0.002, false),
  ],
  prediction: { ...numeric("probability of late", 0.12, 0.27, true), nulls: { reference: 0, current: 0 } },
  quality: {
    labels: 12034,
    coverage: 0.477,
    metrics: [
      { name: "roc_auc", value: 0.6712, low: 0.6604, high: 0.6821, reference: 0.7412, worse: true },
      { name: "log_loss", value: 0.5012, low: 0.4921, high: 0.5108, reference: 0.4983 },
      { name: "accuracy", value: 0.7812, low: 0.7731, high: 0.7889, reference: null },
    ],
  },
  alerts: [
    { id: 12, severity: "warning", title: "air_time, distance and 2 more are unlike the training data", since: NOW - 1500 },
    { severity: "critical", title: "roc_auc fell to 0.671; in testing it was 0.741", since: NOW - 1260 },
    { severity: "warning", title: "3 of 7 features differ from training: temp, carrier, visib", since: NOW - 2400 },
  ],
  notes: ["Labels arrived for 47.7 % of the predictions; quality speaks for those."],
};

const nothing: Picture = {
  ...live,
  state: "idle",
  variants: live.variants.slice(0, 1).map((v) => ({ ...v, percent: 100 })),
  efficiency: { requests: 0, rows: 0, errors: null, error_rate: null, throughput: null, latency_ms: { p50: null, p95: null, p99: null } },
  series: { t: [], requests: [], errors: [], p50: [], p95: [], p99: [] },
  features: [],
  prediction: null,
  quality: null,
  alerts: [],
  notes: [],
};

const worse: Picture["quality"] = {
  labels: 160_604,
  coverage: 0.477,
  metrics: live.quality?.metrics ?? [],
  delay: { p50: 7200, p90: 86_400 },
  slices: [
    { column: "carrier", value: "EV", rows: 8123, metrics: [{ name: "accuracy", value: 0.61, low: 0.59, high: 0.62, reference: 0.74, worse: true }], judged: "accuracy", worse: true },
    { column: "origin", value: "EWR", rows: 40_211, metrics: [{ name: "accuracy", value: 0.7, low: 0.69, high: 0.71, reference: 0.73, worse: true }], judged: "accuracy", worse: true },
  ],
  groups: [{ column: "origin", value: "LGA", rows: 30_000, metrics: [], worse: true, reasons: ["true positive rate 0.41, 0.18 below EWR's; in testing 0.04"] }],
  concept: { drifted: true, reason: "Flights are late more often than the scores say: by 0.07 on average." },
  estimate: null,
  series: {
    t: Array.from({ length: 24 }, (_, i) => NOW - 3600 + i * 150),
    metrics: {
      accuracy: {
        value: Array.from({ length: 24 }, (_, i) => (i > 9 && i < 12 ? null : 0.78 - (i > 14 ? 0.08 : 0) + Math.sin(i) * 0.006)),
        low: Array.from({ length: 24 }, (_, i) => (i > 9 && i < 12 ? null : 0.765 - (i > 14 ? 0.08 : 0) + Math.sin(i) * 0.006)),
        high: Array.from({ length: 24 }, (_, i) => (i > 9 && i < 12 ? null : 0.795 - (i > 14 ? 0.08 : 0) + Math.sin(i) * 0.006)),
      },
    },
  },
};

const guessed: Picture["quality"] = {
  labels: 0,
  coverage: 0,
  metrics: [],
  estimate: {
    rows: 25_211,
    metrics: [
      { name: "accuracy", value: 0.771, low: 0.765, high: 0.777, agrees: null },
      { name: "roc_auc", value: 0.742, low: 0.731, high: 0.752, agrees: null },
    ],
    reason: null,
    assumes: "It assumes that the scores still mean what they meant in testing; concept drift breaks that.",
  },
};

export const pictures: Record<string, Picture> = {
  drifted: live,
  worse: { ...live, quality: worse, variants: [...live.variants] },
  estimated: { ...live, quality: guessed },
  calm: {
    ...live,
    variants: nothing.variants,
    features: live.features.slice(3),
    prediction: numeric("probability of late", 0.01, 0.004, false),
    efficiency: { ...live.efficiency, errors: 0, error_rate: 0 },
    series: { ...live.series, errors: live.series.t.map(() => 0) },
    quality: null,
    alerts: [],
    notes: [],
  },
  idle: nothing,
  down: {
    ...live,
    state: "down",
    reason: "The server of this workspace is not running.",
    alerts: [],
    quality: null,
  },
  hundred: {
    ...live,
    alerts: Array.from({ length: 6 }, (_, i) => ({ severity: "warning" as const, title: `sensor_00${i}_reading drifted: distribution: PSI 0.4`, since: live.since })),
    features: Array.from({ length: 100 }, (_, i) => numeric(`sensor_${String(i).padStart(3, "0")}_reading`, 0.2 / (i + 1), 0.8 / (i + 1) ** 1.2, i < 4)),
  },
  hostile: {
    ...nothing,
    state: "live",
    endpoint: "<img src=x onerror=alert(1)>",
    efficiency: { ...live.efficiency, requests: 3, rows: 3 },
    features: [numeric("<img src=x onerror=alert(1)>", 0.2, 0.4, true), numeric("</span><script>alert(2)</script>", 0, 0.0004, null)],
    alerts: [{ severity: "warning", title: "<b onmouseover=alert(3)>not bold</b>", since: null }],
    notes: ["<svg onload=alert(4)>"],
  },
};
