// Shows the monitor in every state: the quickest way to see what a change to a view does.

import type { Picture } from "../src/picture";
import type { Actions, PictureSource } from "../src/source";
import { board } from "../src/views/board";
import "uplot/dist/uPlot.min.css";
import "../src/monitor.css";
import { pictures } from "./pictures";

const asked = new URLSearchParams(location.search);
document.body.dataset["theme"] = asked.get("theme") ?? "light";

function still(picture: Picture, age: number): PictureSource {
  return {
    read: () => ({ picture, trouble: null, fixed: false, age, patience: 10, from: "kernel" as const }),
    subscribe: () => () => undefined,
    watch: () => undefined,
  };
}

const actions: Actions = {
  can: ["acknowledge_alert", "rollback", "traffic"],
  act: async () => {
    await new Promise((resolve) => setTimeout(resolve, 800));
    return { ok: false, message: "endpoint flight-delay has no earlier revision", hint: "mlops endpoints flight-delay" };
  },
};

const main = document.querySelector("main");
for (const [name, picture] of Object.entries(pictures)) {
  if (asked.has("only") && asked.get("only") !== name) continue;
  const title = document.createElement("h1");
  title.textContent = name;
  const place = document.createElement("div");
  place.id = name;
  if (asked.has("width")) place.style.width = `${asked.get("width")}px`;
  place.append(board(still(picture, 0), actions).element);
  main?.append(title, place);
}

if (location.port) new EventSource("/esbuild").addEventListener("change", () => location.reload());
