// Open alerts, the worst first; the first few are seen at once.

import { changes, h, replace, type View } from "../dom";
import { moment } from "../format";
import type { Alert, Picture } from "../picture";
import type { Actions } from "../source";

const FIRST = 3;

export function alerts(actions: Actions): View<Picture> {
  const list = h("ul", { class: "mm-alerts-list" });
  const more = h("button", { type: "button", class: "mm-button mm-quiet mm-alerts-more" });
  const element = h("section", { class: "mm-alerts", "aria-label": "Open alerts" }, list, more);
  const changed = changes();
  let unfolded = false;
  let lines: HTMLElement[] = [];

  const fold = (): void => {
    lines.forEach((line, i) => (line.hidden = !unfolded && i >= FIRST));
    more.hidden = lines.length <= FIRST;
    more.textContent = unfolded ? `Show the first ${FIRST}` : `Show all ${lines.length} alerts`;
  };
  more.addEventListener("click", () => {
    unfolded = !unfolded;
    fold();
  });

  return {
    element,
    update({ alerts: open, since }) {
      const shown = [...open].sort((a, b) => rank(a) - rank(b)).map((alert) => ({ ...alert, when: when(alert, since) }));
      // without the time itself: what the window shows begins with the window, which moves on
      if (!changed(shown.map(({ id, severity, title, when: words }) => [id, severity, title, words]))) return;
      element.hidden = shown.length === 0;
      lines = shown.map((alert) => line(alert, alert.when, actions));
      replace(list, ...lines);
      fold();
    },
  };
}

function when({ since }: Alert, begin: number | null): string {
  if (since === null) return "";
  return since === begin ? "in this window" : `since ${moment(since)}`;
}

function rank(alert: Alert): number {
  return alert.severity === "critical" ? 0 : 1;
}

function line({ id, severity, title }: Alert, words: string, actions: Actions): HTMLElement {
  const element = h(
    "li",
    { class: "mm-alert", "data-severity": severity },
    h("span", { class: "mm-sign", "aria-hidden": "true" }, severity === "critical" ? "▲" : "◆"),
    h("strong", {}, severity === "critical" ? "Critical" : "Warning"),
    h("span", { class: "mm-alert-title" }, title),
    h("span", { class: "mm-muted mm-num" }, words),
  );
  if (typeof id === "number" && actions.can.includes("acknowledge_alert")) {
    const seen = h("button", { type: "button", class: "mm-button mm-quiet", title: `Alert ${id}: it is shown no more until it is resolved` }, "Acknowledge");
    seen.addEventListener("click", () => {
      seen.disabled = true;
      void actions.act("acknowledge_alert", { number: id }).then(({ ok, message }) => {
        seen.disabled = false;
        if (!ok) element.append(h("span", { class: "mm-muted", role: "alert" }, message));
      });
    });
    element.append(seen);
  }
  return element;
}
