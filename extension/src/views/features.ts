// Features: how far each is from training, the farthest first; a row opens to its distribution.

import { changes, h, replace, type View } from "../dom";
import { percent, plural, score } from "../format";
import type { Feature, Picture } from "../picture";
import { distribution, key, sketch } from "./distribution";

const FIRST = 8;

export function features(): View<Picture> {
  const subtitle = h("span", { class: "mm-muted mm-num" });
  const search = h("input", {
    class: "mm-search",
    type: "search",
    placeholder: "find a feature",
    "aria-label": "Find a feature",
  });
  const list = h("ul", { class: "mm-features-list" });
  const more = h("button", { type: "button", class: "mm-button mm-quiet" });
  const nothing = h("p", { class: "mm-muted mm-empty" });
  const columns = h(
    "div",
    { class: "mm-feature-grid mm-columns", "aria-hidden": "true" },
    h("span", {}, "feature"),
    h("span", {}, "training and now"),
    h("span", {}, "shift (PSI)"),
    h("span", {}, "missing"),
    h("span", {}, ""),
  );
  const element = h(
    "section",
    { class: "mm-panel mm-features", "aria-label": "Features" },
    h("div", { class: "mm-panel-head" }, h("h3", {}, "Features"), subtitle, h("span", { class: "mm-gap" }), search, key()),
    columns,
    list,
    nothing,
    more,
  );

  const rows = new Map<string, View<[Feature, number]>>();
  let all: Feature[] = [];
  let unfolded = false;

  const show = (): void => {
    const wanted = search.value.trim().toLowerCase();
    const found = wanted ? all.filter(({ name }) => name.toLowerCase().includes(wanted)) : all;
    const shown = wanted || unfolded ? found : found.slice(0, FIRST);
    // a full bar is a half or more: one feature far off must not make all others look alike
    const scale = Math.min(0.5, Math.max(0.25, ...all.map(({ psi }) => psi ?? 0)));
    const elements = shown.map((feature) => {
      let row = rows.get(feature.name);
      if (!row) rows.set(feature.name, (row = featureRow()));
      row.update([feature, scale]);
      return row.element;
    });
    if (elements.length !== list.children.length || elements.some((row, i) => list.children[i] !== row)) {
      const focused = document.activeElement;
      list.replaceChildren(...elements);
      if (focused instanceof HTMLElement && list.contains(focused)) focused.focus();
    }
    columns.hidden = shown.length === 0;
    nothing.hidden = shown.length > 0;
    nothing.textContent = all.length ? `No feature has “${search.value}” in its name.` : "No feature statistics in this window.";
    more.hidden = Boolean(wanted) || all.length <= FIRST;
    more.textContent = unfolded ? `Show the first ${FIRST}` : `Show all ${all.length} features`;
  };

  search.addEventListener("input", show);
  search.addEventListener("keydown", (event) => event.stopPropagation()); // not the notebook's shortcuts
  more.addEventListener("click", () => {
    unfolded = !unfolded;
    show();
  });

  return {
    element,
    update(picture) {
      all = picture.features;
      const drifted = all.filter((feature) => feature.drifted).length;
      subtitle.textContent = all.length
        ? `${plural(all.length, "feature")}${drifted ? `, ${drifted} drifted` : ""}`
        : "no data";
      search.hidden = all.length <= FIRST;
      const present = new Set(all.map(({ name }) => name));
      for (const name of rows.keys()) if (!present.has(name)) rows.delete(name);
      show();
    },
  };
}

/** The judgement in a word with a sign, so that colour is never alone. */
export function verdict({ drifted }: Feature): HTMLElement {
  const [word, sign, kind] =
    drifted === null ? ["not judged", "·", "unknown"] : drifted ? ["drifted", "◆", "drifted"] : ["as in training", "✓", "same"];
  return h("span", { class: "mm-verdict", "data-kind": kind }, h("span", { "aria-hidden": "true" }, sign), ` ${word}`);
}

function featureRow(): View<[Feature, number]> {
  const button = h("button", { type: "button", class: "mm-feature-grid mm-row", "aria-expanded": "false" });
  const detail = h("div", { class: "mm-detail" });
  detail.hidden = true;
  const element = h("li", {}, button, detail);
  const changed = changes();
  let current: Feature | null = null;

  const fillDetail = (): void => {
    if (detail.hidden || !current) return;
    replace(detail, distribution(current), facts(current));
  };
  button.addEventListener("click", () => {
    detail.hidden = !detail.hidden;
    button.setAttribute("aria-expanded", String(!detail.hidden));
    fillDetail();
  });

  return {
    element,
    update([feature, scale]) {
      current = feature;
      if (!changed([feature, scale])) return;
      element.dataset["drifted"] = feature.drifted ? "yes" : "no";
      replace(
        button,
        h(
          "span",
          { class: "mm-feature-name" },
          h("span", { class: "mm-chevron", "aria-hidden": "true" }, "›"),
          h("span", { class: "mm-name", title: feature.name }, feature.name),
          h("small", { class: "mm-muted" }, feature.type),
        ),
        h("span", { class: "mm-feature-sketch" }, sketch(feature)),
        meter(feature.psi, scale),
        nulls(feature),
        verdict(feature),
      );
      fillDetail();
    },
  };
}

function meter(psi: number | null, scale: number): HTMLElement {
  const bar = h("span", { class: "mm-meter-bar" });
  bar.style.width = `${Math.min(100, ((psi ?? 0) / scale) * 100)}%`;
  return h(
    "span",
    { class: "mm-meter" },
    h("span", { class: "mm-meter-rail", "aria-hidden": "true" }, bar),
    h("span", { class: "mm-num" }, h("span", { class: "mm-unseen" }, "PSI "), score(psi)),
  );
}

function nulls({ nulls: { reference, current } }: Feature): HTMLElement {
  const moved = reference !== null && current !== null && Math.abs(current - reference) > 0.05;
  return h(
    "span",
    { class: "mm-num mm-nulls", "data-moved": moved ? "yes" : null, title: `missing in training ${percent(reference)}, now ${percent(current)}` },
    h("span", { class: "mm-muted" }, percent(reference)),
    " → ",
    h("b", {}, percent(current)),
  );
}

function facts({ js, psi, nulls: missing, unseen, reasons }: Feature): HTMLElement {
  const unknown = unseen.length
    ? unseen.slice(0, 12).map(String).join(", ") + (unseen.length > 12 ? ` and ${unseen.length - 12} more` : "")
    : "none";
  return h(
    "dl",
    { class: "mm-facts mm-num" },
    h("dt", {}, "population stability index"),
    h("dd", {}, score(psi)),
    h("dt", {}, "Jensen-Shannon distance"),
    h("dd", {}, score(js)),
    h("dt", {}, "missing, training and now"),
    h("dd", {}, `${percent(missing.reference)} → ${percent(missing.current)}`),
    h("dt", {}, "values not seen in training"),
    h("dd", {}, unknown),
    ...(reasons?.length ? [h("dt", {}, "why drifted"), h("dd", {}, reasons.join("; "))] : []),
  );
}
