// Numbers and moments as people read them. An unknown is an en dash.

export const UNKNOWN = "–";

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** 1234567 → "1,234,567". */
export function count(value: Maybe): string {
  return known(value) ? Math.round(value).toLocaleString("en-US") : UNKNOWN;
}

/** 1234567 → "1.2M", for places where there is no room. */
export function brief(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9, 1)}B`;
  if (size >= 1e6) return `${trim(value / 1e6, 1)}M`;
  if (size >= 1e4) return `${trim(value / 1e3, 1)}k`;
  if (size >= 100 || Number.isInteger(value)) return count(value);
  if (size >= 1) return trim(value, 1);
  if (size >= 0.01) return trim(value, 2);
  return String(Number(value.toPrecision(2)));
}

/** A score: three decimals between 0 and 1, fewer above. */
export function score(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 1000) return count(value);
  if (size > 0 && size < 0.0005) return value > 0 ? "< 0.001" : "> -0.001";
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

/** 0.0123 → "1.2 %"; what is not nothing is never shown as nothing. */
export function percent(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  const hundred = value * 100;
  if (hundred > 0 && hundred < 0.01) return "< 0.01 %";
  if (hundred > 0 && hundred < 1) return `${trim(hundred, 2)} %`;
  return `${trim(hundred, hundred < 10 ? 1 : 0)} %`;
}

/** Milliseconds: "850 µs", "4.2 ms", "1.30 s". */
export function duration(ms: Maybe): string {
  const [value, unit] = durationParts(ms);
  return unit ? `${value} ${unit}` : value;
}

export function durationParts(ms: Maybe): [string, string] {
  if (!known(ms)) return [UNKNOWN, ""];
  if (ms === 0) return ["0", "ms"];
  if (ms < 1) return [String(Math.round(ms * 1000)), "µs"];
  if (ms < 10) return [trim(ms, 1), "ms"];
  if (ms < 1000) return [String(Math.round(ms)), "ms"];
  return [(ms / 1000).toFixed(2), "s"];
}

/** Requests a second. */
export function rate(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 0.01) return "< 0.01";
  return value >= 100 ? count(value) : trim(value, value >= 10 ? 1 : 2);
}

export function clock(seconds: Maybe, withSeconds = true): string {
  if (!known(seconds)) return UNKNOWN;
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds ? { second: "2-digit" } : {}),
  });
}

/** The time, with the day in front where it is not today. */
export function moment(seconds: Maybe, now: number = Date.now() / 1000): string {
  if (!known(seconds)) return UNKNOWN;
  const day = new Date(seconds * 1000);
  const today = new Date(now * 1000);
  if (day.toDateString() === today.toDateString()) return clock(seconds);
  const year = day.getFullYear() === today.getFullYear() ? {} : { year: "numeric" as const };
  const date = day.toLocaleDateString("en-GB", { day: "numeric", month: "short", ...year });
  return `${date}, ${clock(seconds, false)}`;
}

/** 3700 → "1 h 2 min". */
export function span(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 && whole < 600 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.round(whole / 60)} min`;
  if (whole < 86_400) {
    const minutes = Math.round((whole % 3600) / 60);
    const hours = Math.floor(whole / 3600);
    return minutes && minutes < 60 ? `${hours} h ${minutes} min` : `${hours + (minutes === 60 ? 1 : 0)} h`;
  }
  const days = Math.floor(whole / 86_400);
  const hours = Math.round((whole % 86_400) / 3600);
  return hours ? `${days} d ${hours} h` : `${days} d`;
}

/** The bin edges of a histogram, readable: "[3, 17)". */
export function edge(value: Maybe): string {
  if (!known(value)) return "∞";
  const size = Math.abs(value);
  if (size >= 1e5) return brief(value);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

function trim(value: number, decimals: number): string {
  return String(Number(value.toFixed(decimals)));
}
