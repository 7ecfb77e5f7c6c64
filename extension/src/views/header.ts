// The head: which endpoint, how it is, which versions take its traffic, and what can be done.

import { changes, h, replace, type View } from "../dom";
import { clock, moment, percent, span } from "../format";
import type { Picture, Variant } from "../picture";
import type { Actions, PictureSource, Reading } from "../source";
import { wishes } from "./wishes";

interface Condition {
  kind: "live" | "idle" | "down" | "paused" | "fixed";
  word: string;
  detail: string;
}

const SIGNS = { live: "●", idle: "○", down: "▲", paused: "❚❚", fixed: "◆" } as const;

export function condition({ picture, trouble, fixed, age, patience }: Reading): Condition {
  if (fixed) return { kind: "fixed", word: "Past window", detail: "does not change" };
  if (trouble) return { kind: "down", word: "No picture", detail: `since ${moment(trouble.since)}` };
  if (age > patience) {
    return { kind: "paused", word: "Paused", detail: `no news for ${span(age)}` };
  }
  const at = `as of ${clock(picture.as_of)}`;
  if (picture.state === "down") return { kind: "down", word: "Down", detail: at };
  if (picture.state === "idle") return { kind: "idle", word: "Idle", detail: at };
  return { kind: "live", word: "Live", detail: at };
}

export function header(source: PictureSource, actions: Actions): View<Reading> {
  const name = h("h2", { class: "mm-endpoint" });
  const pill = h("span", { class: "mm-pill", role: "status" });
  const detail = h("span", { class: "mm-muted mm-num mm-as-of" });
  const range = h("span", { class: "mm-muted mm-num mm-range" });
  const variants = h("ul", { class: "mm-variants", "aria-label": "Traffic by variant" });
  const split = h("div", { class: "mm-split", "aria-hidden": "true" });
  const wanted = wishes(actions, () => source.read().picture);
  const element = h(
    "header",
    { class: "mm-header" },
    h("div", { class: "mm-line" }, name, pill, detail, h("span", { class: "mm-gap" }), range, wanted.buttons),
    h("div", { class: "mm-line" }, variants),
    split,
    wanted.dialogue,
  );
  const conditionChanged = changes();
  const variantsChanged = changes();

  return {
    element,
    update(reading) {
      const { picture } = reading;
      const now = condition(reading);
      name.textContent = picture.endpoint;
      if (conditionChanged([now.kind, now.word])) {
        pill.dataset["kind"] = now.kind;
        replace(pill, h("span", { "aria-hidden": "true" }, SIGNS[now.kind]), ` ${now.word}`);
      }
      detail.textContent = now.detail;
      range.textContent = windowOf(picture);
      if (variantsChanged(picture.variants)) {
        replace(variants, ...picture.variants.map(variant));
        replace(split, ...picture.variants.map(share));
        split.hidden = picture.variants.length < 2;
      }
      wanted.update(picture);
    },
  };
}

function windowOf({ since, until, as_of }: Picture): string {
  if (since === null) return "";
  const end = until ?? as_of;
  if (Math.abs(end - as_of) < 120) return `last ${span(end - since)}`;
  return `${moment(since)} to ${moment(end)}`;
}

function variant({ variant: role, model, version, number, percent: part }: Variant): HTMLElement {
  return h(
    "li",
    { class: "mm-variant", "data-role": role },
    h("span", { class: "mm-swatch", "aria-hidden": "true" }),
    h("strong", {}, role),
    ` ${model}${version === null ? "" : `/${version}`} `,
    h("span", { class: "mm-muted" }, `revision ${number}`),
    h("span", { class: "mm-num mm-part" }, part === null ? "–" : percent(part / 100)),
  );
}

function share({ variant: role, percent: part }: Variant): HTMLElement {
  const bar = h("span", { "data-role": role });
  bar.style.flexGrow = String(part ?? 0);
  return bar;
}
