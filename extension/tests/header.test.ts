import assert from "node:assert/strict";
import { test } from "node:test";
import type { Picture } from "../src/picture";
import type { Reading } from "../src/source";
import { condition } from "../src/views/header";

function reading(changes: Partial<Reading>, state: Picture["state"] = "live"): Reading {
  const picture = { state, as_of: 1 } as Picture;
  return { picture, trouble: null, fixed: false, age: 0, patience: 10, from: "kernel", ...changes };
}

test("the state is the picture's while news come", () => {
  assert.equal(condition(reading({})).word, "Live");
  assert.equal(condition(reading({}, "idle")).word, "Idle");
  assert.equal(condition(reading({}, "down")).word, "Down");
});

test("a picture that is no longer renewed does not say that it is live", () => {
  assert.equal(condition(reading({ age: 11 })).word, "Paused");
});

test("trouble in reading comes before the last picture's state", () => {
  const trouble = { message: "database is locked", hint: null, since: 1 };
  assert.equal(condition(reading({ trouble })).kind, "down");
});

test("a window of the past is not called live", () => {
  assert.equal(condition(reading({ fixed: true, age: 1000 })).word, "Past window");
});
