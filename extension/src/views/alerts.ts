// Open alerts, the worst first.

import { changes, h, replace, type View } from "../dom";
import { moment } from "../format";
import type { Alert, Picture } from "../picture";

export function alerts(): View<Picture> {
  const element = h("ul", { class: "mm-alerts", "aria-label": "Open alerts" });
  const changed = changes();
  return {
    element,
    update(picture) {
      if (!changed(picture.alerts)) return;
      element.hidden = picture.alerts.length === 0;
      const worst = [...picture.alerts].sort((a, b) => rank(a) - rank(b));
      replace(element, ...worst.map(line));
    },
  };
}

function rank(alert: Alert): number {
  return alert.severity === "critical" ? 0 : 1;
}

function line({ severity, title, since }: Alert): HTMLElement {
  return h(
    "li",
    { class: "mm-alert", "data-severity": severity },
    h("span", { class: "mm-sign", "aria-hidden": "true" }, severity === "critical" ? "▲" : "◆"),
    h("strong", {}, severity === "critical" ? "Critical" : "Warning"),
    h("span", { class: "mm-alert-title" }, title),
    since === null ? null : h("span", { class: "mm-muted mm-num" }, `since ${moment(since)}`),
  );
}
