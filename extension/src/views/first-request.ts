// No traffic yet: says how to send the first request, in each of the three faces.

import { changes, h, replace, type View } from "../dom";
import type { Picture } from "../picture";

export function firstRequest(): View<Picture> {
  const element = h("div", { class: "mm-first" });
  const changed = changes();
  return {
    element,
    update({ endpoint, since }) {
      if (!changed([endpoint, since === null])) return;
      replace(
        element,
        h("p", { class: "mm-first-title" }, "No request in this window."),
        h("p", { class: "mm-muted" }, "Send one and it shows here within a second or two:"),
        h(
          "dl",
          { class: "mm-ways" },
          h("dt", {}, "notebook"),
          h("dd", {}, h("code", {}, `%mlops_predict ${endpoint} --data df`)),
          h("dt", {}, "Python"),
          h("dd", {}, h("code", {}, `mlops.predict("${endpoint}", df)`)),
          h("dt", {}, "HTTP"),
          h("dd", {}, h("code", {}, `POST /endpoints/${endpoint}/invocations`)),
        ),
      );
    },
  };
}
