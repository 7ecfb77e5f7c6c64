// The banner: the endpoint is down, or no picture can be had: which, since when, what to do.

import { changes, h, replace, type View } from "../dom";
import { moment, span } from "../format";
import type { Reading } from "../source";

export function banner(): View<Reading> {
  const element = h("div", { class: "mm-banner", role: "alert" });
  element.hidden = true;
  const changed = changes();
  return {
    element,
    update(reading) {
      const said = explain(reading);
      if (!changed(said)) return;
      element.hidden = said === null;
      replace(element);
      if (!said) return;
      replace(
        element,
        h("p", {}, h("strong", {}, said.what), " ", said.why),
        said.command ? h("p", {}, "Next: ", h("code", {}, said.command)) : null,
        said.kept ? h("p", { class: "mm-muted" }, said.kept) : null,
      );
    },
  };
}

interface Said {
  what: string;
  why: string;
  command: string | null;
  kept: string | null;
}

function explain({ picture, trouble, fixed, age, patience, from }: Reading): Said | null {
  const kept = `What is shown below is as of ${moment(picture.as_of)}.`;
  if (trouble) {
    return {
      what: `No picture since ${moment(trouble.since)}.`,
      why: trouble.message,
      command: trouble.hint,
      kept,
    };
  }
  if (picture.state === "down") {
    const last = picture.series.t.at(-1);
    const since = last === undefined ? "" : ` Last request seen at ${moment(last)}.`;
    return {
      what: "The endpoint does not answer.",
      why: (picture.reason ?? "") + since,
      command: "%mlops_doctor",
      kept: null,
    };
  }
  if (!fixed && age > patience) {
    if (from === "server") {
      return {
        what: "This picture stands still.",
        why: `The Jupyter server has sent nothing for ${span(Math.floor(age / 15) * 15 || age)}.`,
        command: null,
        kept,
      };
    }
    return {
      what: "This picture stands still.",
      // in whole quarters of a minute: an alert that changed each second would be read out each second
      why: `The kernel has sent nothing for ${span(Math.floor(age / 15) * 15 || age)}: it has ended, or is busy in a front end that gives widgets no thread of their own.`,
      command: `%mlops_monitor ${picture.endpoint}`,
      kept,
    };
  }
  return null;
}
