// The state of an endpoint over a window of time, as `mlops_magics.monitor(...).to_dict()` gives it.
// A null is an unknown and is shown as such; it is never a zero.

export type State = "live" | "idle" | "down";

export interface Variant {
  revision: number;
  number: number;
  variant: string;
  model: string;
  version: string | number | null;
  percent: number | null;
}

export interface Efficiency {
  requests: number | null;
  rows: number | null;
  errors: number | null;
  error_rate: number | null;
  throughput: number | null;
  latency_ms: { p50: number | null; p95: number | null; p99: number | null };
}

export interface Series {
  t: number[];
  requests: (number | null)[];
  errors: (number | null)[];
  p50: (number | null)[];
  p95: (number | null)[];
  p99: (number | null)[];
}

export interface Histogram {
  edges: (number | null)[] | null;
  labels: string[] | null;
  reference: number[];
  current: number[];
}

export interface Feature {
  name: string;
  type: "numeric" | "categorical";
  psi: number | null;
  js: number | null;
  drifted: boolean | null;
  /** What made the verdict, in words. */
  reasons?: string[];
  nulls: { reference: number | null; current: number | null };
  unseen: string[];
  histogram: Histogram | null;
}

export interface QualityMetric {
  name: string;
  value: number | null;
  low: number | null;
  high: number | null;
  reference: number | null;
  /** Worse than in testing by more than chance. */
  worse?: boolean | null;
}

export interface QualityPart {
  column: string;
  value: string;
  rows: number;
  metrics: QualityMetric[];
  /** The metric by which a slice is judged. */
  judged?: string;
  worse: boolean | null;
  /** Why a group is flagged, in words. */
  reasons?: string[];
}

/** What scores alone lead to expect, before labels come. */
export interface Estimate {
  rows: number;
  metrics: { name: string; value: number | null; low: number | null; high: number | null; agrees: boolean | null }[];
  reason: string | null;
  assumes: string;
}

export interface QualitySeries {
  t: number[];
  metrics: Record<string, { value: (number | null)[]; low: (number | null)[]; high: (number | null)[] }>;
}

export interface Quality {
  labels: number | null;
  coverage: number | null;
  metrics: QualityMetric[];
  /** Seconds from a prediction to its label. */
  delay?: { p50: number; p90: number } | null;
  slices?: QualityPart[];
  groups?: QualityPart[];
  concept?: { drifted: boolean | null; reason: string } | null;
  estimate?: Estimate | null;
  series?: QualitySeries | null;
}

export interface Alert {
  /** Null: what the window shows by itself, and nobody keeps. */
  id?: number | null;
  severity: "warning" | "critical";
  title: string;
  since: number | null;
}

export interface Picture {
  schema: 1;
  endpoint: string;
  state: State;
  reason: string | null;
  as_of: number;
  since: number | null;
  until: number | null;
  variants: Variant[];
  efficiency: Efficiency;
  series: Series;
  features: Feature[];
  prediction: Feature | null;
  quality: Quality | null;
  alerts: Alert[];
  notes: string[];
}
