// The widget `%mlops_monitor`: anywidget calls `render` once for each view on the page.

import type { RenderProps } from "@anywidget/types";
import { Kernel, type MonitorState } from "./kernel";
import { Server } from "./server";
import { board } from "./views/board";
import "uplot/dist/uPlot.min.css";
import "./monitor.css";

const HEARTBEAT_MS = 30_000;

function render({ model, el }: RenderProps<MonitorState & Record<string, unknown>>): () => void {
  const kernel = new Kernel(model);
  const server = new Server(kernel);
  const view = board(server, server);
  el.append(view.element);
  const showTwin = hideTwin(el, String(model.get("twin") ?? ""));
  const stopWatching = reportWatching(el, (watching) => server.watch(watching));
  return () => {
    stopWatching();
    showTwin();
    view.dispose();
    server.dispose();
    kernel.dispose();
  };
}

/** The static twin is for when there is no kernel: while this view lives it is out of sight. */
function hideTwin(el: HTMLElement, twin: string): () => void {
  if (!/^[\w-]+$/.test(twin)) return () => undefined;
  const style = document.createElement("style");
  style.textContent =
    `.mlops-twin-${twin}, .jp-OutputArea-child:has(.mlops-twin-${twin}) { display: none !important; }`;
  el.append(style);
  return () => style.remove();
}

/** Tells whether anybody looks: on screen, in a visible tab. Said again from time to time. */
function reportWatching(el: HTMLElement, tell: (watching: boolean) => void): () => void {
  let onScreen = true;
  let last: boolean | null = null;
  const report = (): void => {
    const watching = onScreen && document.visibilityState === "visible";
    if (watching !== last) tell(watching);
    last = watching;
  };
  const eye = new IntersectionObserver((entries) => {
    onScreen = entries.at(-1)?.isIntersecting ?? true;
    report();
  });
  eye.observe(el);
  document.addEventListener("visibilitychange", report);
  const heartbeat = setInterval(() => {
    if (last) tell(true);
  }, HEARTBEAT_MS);
  report();
  return () => {
    clearInterval(heartbeat);
    eye.disconnect();
    document.removeEventListener("visibilitychange", report);
    if (last) tell(false);
  };
}

export default { render };
