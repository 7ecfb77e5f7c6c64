// What the model answers now, beside what it answered on its training data.

import { changes, h, replace, type View } from "../dom";
import type { Picture } from "../picture";
import { distribution, key } from "./distribution";
import { verdict } from "./features";

export function prediction(): View<Picture> {
  const subtitle = h("span", { class: "mm-muted mm-num" });
  const body = h("div", { class: "mm-prediction-body" });
  const element = h(
    "section",
    { class: "mm-panel mm-prediction", "aria-label": "Predictions" },
    h("div", { class: "mm-panel-head" }, h("h3", {}, "Predictions"), subtitle, h("span", { class: "mm-gap" }), key()),
    body,
  );
  const changed = changes();
  return {
    element,
    update({ prediction: answers }) {
      if (!changed(answers)) return;
      replace(subtitle, ...(answers ? [answers.name, " ", verdict(answers)] : ["no data"]));
      replace(body, answers ? distribution(answers) : h("p", { class: "mm-muted mm-empty" }, "No prediction in this window."));
    },
  };
}
