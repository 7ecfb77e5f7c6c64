// The whole monitor: puts the views in their places and gives each its part of the picture.

import { h, type View } from "../dom";
import type { Picture } from "../picture";
import type { Actions, PictureSource, Reading } from "../source";
import { followTheme } from "../theme";
import { alerts } from "./alerts";
import { banner } from "./banner";
import { features } from "./features";
import { figures } from "./figures";
import { header } from "./header";
import { firstRequest } from "./first-request";
import { notes } from "./notes";
import { prediction } from "./prediction";
import { quality } from "./quality";
import { latency, traffic } from "./timelines";

export function board(source: PictureSource, actions: Actions): { element: HTMLElement; dispose(): void } {
  const head = header(source, actions);
  const trouble = banner();
  const start = firstRequest();
  const drawings: View<Picture>[] = [
    alerts(actions),
    figures(),
    traffic(),
    latency(),
    features(),
    prediction(),
    quality(),
    notes(),
  ];
  const [alertList, tiles, requests, milliseconds, table, predicted, scored, remarks] = drawings.map(
    (view) => view.element,
  );
  const measured = h(
    "div",
    { class: "mm-measured" },
    tiles,
    h("div", { class: "mm-pair" }, requests, milliseconds),
    table,
    h("div", { class: "mm-pair" }, predicted, scored),
  );
  const element = h(
    "section",
    { class: "mlops-monitor" },
    head.element,
    trouble.element,
    alertList,
    start.element,
    measured,
    remarks,
  );

  let drawn: Picture | null = null;
  const draw = (): void => {
    const reading: Reading = source.read();
    const { picture } = reading;
    element.dataset["from"] = reading.from;
    head.update(reading);
    trouble.update(reading);
    if (picture === drawn) return;
    drawn = picture;
    element.setAttribute("aria-label", `Monitor of endpoint ${picture.endpoint}`);
    element.dataset["state"] = picture.state;
    const empty = picture.state === "idle" && !picture.efficiency.requests;
    start.element.hidden = !empty;
    measured.hidden = empty;
    start.update(picture);
    for (const view of drawings) view.update(picture);
  };
  const redraw = (): void => {
    drawn = null;
    draw();
  };

  const unfollow = followTheme(element, redraw);
  const unsubscribe = source.subscribe(draw);
  const ageing = setInterval(draw, 1000); // so that silence is seen, too
  draw();
  return {
    element,
    dispose() {
      clearInterval(ageing);
      unsubscribe();
      unfollow();
      for (const view of [head, trouble, start, ...drawings]) view.dispose?.();
    },
  };
}
