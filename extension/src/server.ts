// The Jupyter server as the source of pictures, behind its own login: live while the kernel is busy
// or gone. Where there is none (VS Code, Colab, not enabled, another folder) the kernel goes on.

import type { Kernel } from "./kernel";
import type { Picture } from "./picture";
import type { Actions, Outcome, PictureSource, Reading, Trouble } from "./source";

/** Taking pictures never takes more than this share of the time. */
const SHARE_OF_TIME = 0.25;
const PAUSE_MS = 400; // a request shows up within a second
const LONGEST_MS = 5000; // the first picture loads the libraries; the next ones are fast
const AGAIN_MS = 15_000;
const ANSWER_WITHIN_MS = 60_000;

interface Site {
  url: string;
  headers: Record<string, string>;
}

/** Where the page's own Jupyter server is; null in a front end that is none of Jupyter's. */
export function site(page: Document = document): Site | null {
  const text = page.getElementById("jupyter-config-data")?.textContent;
  if (!text) return null;
  let config: { baseUrl?: unknown; token?: unknown };
  try {
    config = JSON.parse(text) as typeof config;
  } catch {
    return null;
  }
  if (typeof config.baseUrl !== "string") return null;
  const url = new URL(`${config.baseUrl.replace(/\/$/, "")}/mlops/api/`, page.location.href);
  if (url.origin !== page.location.origin) return null; // nobody else gets the token
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  const xsrf = /(?:^|; )_xsrf=([^;]+)/.exec(page.cookie)?.[1];
  if (xsrf) headers["X-XSRFToken"] = xsrf;
  if (typeof config.token === "string" && config.token) headers["Authorization"] = `token ${config.token}`;
  return { url: url.href, headers };
}

/** What the server said: a record, a refusal in words, or null where it knows no such thing. */
type Answer = { record: unknown } | { refused: { message: string; hint: string | null } } | null;

export class Server implements PictureSource, Actions {
  private picture: Picture | null = null;
  private trouble: Trouble | null = null;
  private heard = 0;
  private asked = 0;
  private shown = 0;
  private watching = false;
  private disposed = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly changed = new Set<() => void>();
  private readonly site: Site | null;

  constructor(
    private readonly kernel: Kernel,
    where: Site | null = site(),
    private readonly ask: typeof fetch = fetch.bind(globalThis),
  ) {
    this.site = kernel.served && !kernel.read().fixed ? where : null;
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.timer);
  }

  /** Whether the server, and not the kernel, is what is read. */
  get live(): boolean {
    return this.picture !== null;
  }

  read(): Reading {
    const reading = this.kernel.read();
    if (this.picture === null) return reading;
    const age = (performance.now() - this.heard) / 1000;
    return { ...reading, picture: this.picture, trouble: this.trouble, age, from: "server" };
  }

  subscribe(changed: () => void): () => void {
    this.changed.add(changed);
    const end = this.kernel.subscribe(() => {
      if (!this.live) changed();
    });
    return () => {
      this.changed.delete(changed);
      end();
    };
  }

  watch(watching: boolean): void {
    this.kernel.watch(watching, this.live);
    if (watching === this.watching) return;
    this.watching = watching;
    clearTimeout(this.timer);
    if (watching && this.site) void this.follow();
  }

  private async follow(): Promise<void> {
    const began = performance.now();
    const known = await this.look();
    if (this.disposed || !this.watching) return;
    const took = performance.now() - began;
    const rest = Math.min(LONGEST_MS, took / SHARE_OF_TIME - took);
    const pause = Math.max(Math.min(PAUSE_MS, this.kernel.interval * 1000), rest);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.follow(), known ? pause : AGAIN_MS);
  }

  /** Reads a picture; false where the server has none for us, so that the kernel's is shown. */
  private async look(): Promise<boolean> {
    const before = this.live;
    const turn = ++this.asked;
    const answer = await this.call("monitor", this.kernel.served?.arguments ?? {});
    if (turn < this.shown) return this.live; // a later one was faster
    this.shown = turn;
    if (answer === null) this.picture = this.trouble = null;
    else if ("record" in answer) [this.picture, this.trouble] = [answer.record as Picture, null];
    else if (this.picture) this.trouble = { ...answer.refused, since: this.trouble?.since ?? Date.now() / 1000 };
    else return false; // the kernel says it as well, or knows better
    this.heard = performance.now();
    if (before !== this.live) this.kernel.watch(this.watching, this.live);
    for (const tell of this.changed) tell();
    return this.live;
  }

  private async call(verb: string, given: Record<string, unknown>): Promise<Answer> {
    if (!this.site || !this.kernel.served) return null;
    const body = JSON.stringify({ workspace: this.kernel.served.workspace, arguments: given });
    try {
      const { url, headers } = this.site;
      const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
      const response = await this.ask(url + verb, { method: "POST", headers, body, signal });
      const said: unknown = await response.json();
      if (response.ok) return { record: said };
      const { message, hint = null } = said as { message?: string; hint?: string | null };
      // no such route, no login any more, a workspace that is not the server's: not for us
      if ([401, 403, 404, 405].includes(response.status) && !this.live) return null;
      return { refused: { message: message ?? response.statusText, hint } };
    } catch {
      return null; // no connection, or no JSON: not our server
    }
  }

  get can(): readonly string[] {
    return this.kernel.can;
  }

  async act(verb: string, given: Record<string, unknown>): Promise<Outcome> {
    if (!this.live) return this.kernel.act(verb, given);
    const answer = await this.call(verb, given);
    if (answer === null) return { ok: false, message: "The Jupyter server did not answer.", hint: `mlops ${verb} ${this.read().picture.endpoint}   (in a shell)` };
    if ("refused" in answer) return { ok: false, ...answer.refused };
    await this.look();
    return { ok: true, message: "", hint: null };
  }
}
