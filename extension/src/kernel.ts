// The kernel as the source of pictures: the widget's synchronised state, and messages to it.

import type { AnyModel } from "@anywidget/types";
import type { Picture } from "./picture";
import type { Actions, Outcome, PictureSource, Reading, Trouble } from "./source";

export interface MonitorState {
  picture: Picture;
  trouble: Trouble | null;
  fixed: boolean;
  interval: number;
  actions: string[];
  served: Served | null;
}

/** Where the Jupyter server finds the same: a workspace's path, and the verb's arguments. */
export interface Served {
  workspace: string;
  arguments: Record<string, unknown>;
}

const ANSWER_WITHIN_MS = 60_000;

interface OutcomeMessage extends Outcome {
  kind: "outcome";
  id: string;
}

function isOutcome(message: unknown): message is OutcomeMessage {
  return (message as { kind?: unknown } | null)?.kind === "outcome";
}

export class Kernel implements PictureSource, Actions {
  private heard = performance.now();
  private readonly waiting = new Map<string, (outcome: Outcome) => void>();
  private readonly onPicture = (): void => {
    this.heard = performance.now();
  };
  private readonly onMessage = (message: unknown): void => {
    if (!isOutcome(message)) return;
    this.waiting.get(message.id)?.(message);
    this.waiting.delete(message.id);
  };

  constructor(private readonly model: AnyModel<MonitorState & Record<string, unknown>>) {
    model.on("change:picture", this.onPicture);
    model.on("change:trouble", this.onPicture);
    model.on("msg:custom", this.onMessage);
  }

  dispose(): void {
    this.model.off("change:picture", this.onPicture);
    this.model.off("change:trouble", this.onPicture);
    this.model.off("msg:custom", this.onMessage);
  }

  read(): Reading {
    return {
      picture: this.model.get("picture"),
      trouble: this.model.get("trouble"),
      fixed: this.model.get("fixed"),
      age: (performance.now() - this.heard) / 1000,
      patience: Math.max(10, 5 * this.model.get("interval")),
      from: "kernel",
    };
  }

  subscribe(changed: () => void): () => void {
    this.model.on("change:picture", changed);
    this.model.on("change:trouble", changed);
    return () => {
      this.model.off("change:picture", changed);
      this.model.off("change:trouble", changed);
    };
  }

  /** Tells the kernel whether anybody looks, and whether somebody else shows it the pictures. */
  watch(watching: boolean, elsewhere = false): void {
    this.model.send({ kind: "watching", watching, elsewhere });
  }

  get can(): readonly string[] {
    return this.model.get("actions");
  }

  get interval(): number {
    return this.model.get("interval");
  }

  get served(): Served | null {
    return this.model.get("served");
  }

  act(verb: string, given: Record<string, unknown>): Promise<Outcome> {
    const id = crypto.randomUUID?.() ?? String(Math.random());
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        resolve({
          ok: false,
          message: "The kernel did not answer within a minute: it is busy, or gone.",
          hint: `mlops ${verb} ${this.read().picture.endpoint}   (in a shell)`,
        });
      }, ANSWER_WITHIN_MS);
      this.waiting.set(id, (outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      });
      this.model.send({ kind: "act", id, verb, given });
    });
  }
}
