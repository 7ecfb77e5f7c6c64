import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, count, duration, edge, moment, percent, rate, score, span } from "../src/format";

test("an unknown is a dash, never a zero", () => {
  for (const show of [brief, count, duration, moment, percent, rate, score, span]) {
    assert.equal(show(null), "–");
    assert.equal(show(undefined), "–");
    assert.equal(show(Number.NaN), "–");
  }
});

test("what is not nothing is never shown as nothing", () => {
  assert.equal(percent(0), "0 %");
  assert.equal(percent(0.00001), "< 0.01 %");
  assert.equal(percent(0.0038), "0.38 %");
  assert.equal(rate(0.001), "< 0.01");
  assert.equal(score(0.0001), "< 0.001");
  assert.equal(duration(0.02), "20 µs");
});

test("large numbers are short where there is no room, whole elsewhere", () => {
  assert.equal(count(336776), "336,776");
  assert.equal(brief(336776), "336.8k");
  assert.equal(brief(10_000_000), "10M");
});

test("durations choose their unit", () => {
  assert.equal(duration(4.23), "4.2 ms");
  assert.equal(duration(1300), "1.30 s");
  assert.equal(span(42), "42 s");
  assert.equal(span(3600), "1 h");
  assert.equal(span(3720), "1 h 2 min");
  assert.equal(span(90000), "1 d 1 h");
});

test("an open edge of a bin is infinite", () => {
  assert.equal(edge(null), "∞");
  assert.equal(edge(12), "12");
  assert.equal(edge(0.123456), "0.123");
});
