// Where pictures come from and where a person's wishes go. The views know only these two
// interfaces: the Jupyter server stands behind them or, where it does not answer, the kernel.

import type { Picture } from "./picture";

/** Why there is no fresh picture: what failed, since when, and what to do. */
export interface Trouble {
  message: string;
  hint: string | null;
  since: number;
}

export interface Reading {
  picture: Picture;
  trouble: Trouble | null;
  /** A closed window of the past: it will never change. */
  fixed: boolean;
  /** Seconds since this page last heard of the source. */
  age: number;
  /** Seconds after which no news means that the source is gone. */
  patience: number;
  /** Who has told it. */
  from: "kernel" | "server";
}

export interface PictureSource {
  read(): Reading;
  /** Calls back at every new picture; the returned function ends it. */
  subscribe(changed: () => void): () => void;
  /** Tells the source whether anybody looks, so that it can rest. */
  watch(watching: boolean): void;
}

export interface Outcome {
  ok: boolean;
  message: string;
  hint: string | null;
}

export interface Actions {
  /** The verbs that are offered. */
  can: readonly string[];
  /** Calls a verb; when it has ended, a picture that shows what came of it has been read. */
  act(verb: string, given: Record<string, unknown>): Promise<Outcome>;
}
