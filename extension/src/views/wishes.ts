// What a person may want of an endpoint: roll back, promote, another share. Each asks first, calls
// the source, and shows what came of it where it was asked.

import { h, replace, type Child } from "../dom";
import type { Picture, Variant } from "../picture";
import type { Actions } from "../source";

export interface Wishes {
  buttons: HTMLElement;
  dialogue: HTMLElement;
  update(picture: Picture): void;
}

interface Wish {
  verb: string;
  label: string;
  title: string;
  busy: string;
  done: string;
  not: string;
  /** It has no sense for every picture. */
  offered(picture: Picture): boolean;
  question(picture: Picture): Child[];
  /** A number that is asked for as well: its name among the arguments, and what stands there. */
  number?: { argument: string; unit: string; value(picture: Picture): number };
  given(endpoint: string): Record<string, unknown>;
}

const WISHES: readonly Wish[] = [
  {
    verb: "traffic",
    label: "Promote…",
    title: "Promote",
    busy: "Promoting…",
    done: "Promoted. ",
    not: "Not promoted. ",
    offered: (picture) => candidate(picture) !== undefined,
    question: (picture) => {
      const { number, model, version } = candidate(picture) as Variant;
      return ["Make revision ", h("strong", {}, `${number} (${model}/${version ?? "–"})`), ` the champion of ${picture.endpoint}? It gets all traffic.`];
    },
    given: (endpoint) => ({ endpoint, promote: true }),
  },
  {
    verb: "traffic",
    label: "Change share…",
    title: "Change share",
    busy: "Changing the share…",
    done: "Changed. ",
    not: "Not changed. ",
    offered: (picture) => candidate(picture)?.variant === "canary",
    question: (picture) => [`How much of the traffic of ${picture.endpoint} goes to revision ${candidate(picture)?.number}?`],
    number: { argument: "canary", unit: "per cent", value: (picture) => candidate(picture)?.percent ?? 10 },
    given: (endpoint) => ({ endpoint }),
  },
  {
    verb: "rollback",
    label: "Roll back…",
    title: "Roll back",
    busy: "Rolling back…",
    done: "Rolled back. ",
    not: "Not rolled back. ",
    offered: () => true,
    given: (name) => ({ name }),
    question: (picture) => {
      const champion = picture.variants.find(({ variant }) => variant === "champion") ?? picture.variants[0];
      const from = champion ? ` It is at revision ${champion.number} (${champion.model}/${champion.version ?? "–"}) now.` : "";
      return ["Send all traffic of ", h("strong", {}, picture.endpoint), ` back to its previous revision?${from} No request is lost.`];
    },
  },
];

/** The revision beside the champion, if there is one. */
export function candidate({ variants }: Picture): Variant | undefined {
  return variants.find(({ variant }) => variant !== "champion");
}

/** Where the traffic goes, in a sentence. */
export function served({ variants }: Picture): string {
  const taking = variants.filter(({ percent }) => percent);
  if (!taking.length) return "No revision takes traffic.";
  const words = taking.map(({ number, model, version }) => `revision ${number} (${model}/${version ?? "–"})`);
  return `Traffic goes to ${words.join(" and ")}.`;
}

export function wishes(actions: Actions, read: () => Picture): Wishes {
  const buttons = h("span", { class: "mm-wishes" });
  const dialogue = h("div", { class: "mm-dialogue", role: "group" });
  dialogue.hidden = true;
  let busy = false;
  let opener: HTMLButtonElement | null = null;

  const close = (): void => {
    dialogue.hidden = true;
    opener?.setAttribute("aria-expanded", "false");
    opener?.focus();
    opener = null;
  };
  const say = (kind: string, role: string, ...children: Child[]): void => {
    dialogue.dataset["kind"] = kind;
    replace(dialogue, h("div", { role, class: "mm-said" }, ...children));
  };
  const dismiss = (text: string): HTMLButtonElement => {
    const element = h("button", { type: "button", class: "mm-button" }, text);
    element.addEventListener("click", close);
    return element;
  };
  const hold = (held: boolean): void => {
    busy = held;
    for (const { button } of offered) button.disabled = held;
  };

  const perform = async (wish: Wish, given: Record<string, unknown>): Promise<void> => {
    hold(true);
    say("busy", "status", h("span", { class: "mm-spinner", "aria-hidden": "true" }), wish.busy);
    const outcome = await actions.act(wish.verb, { ...wish.given(read().endpoint), ...given });
    hold(false);
    say(
      outcome.ok ? "done" : "failed",
      outcome.ok ? "status" : "alert",
      h("p", {}, h("strong", {}, outcome.ok ? wish.done : wish.not), outcome.ok ? served(read()) : outcome.message),
      outcome.hint ? h("p", {}, h("code", {}, outcome.hint)) : null,
    );
    const done = dismiss("Close");
    dialogue.append(done);
    done.focus();
  };

  const ask = (wish: Wish, button: HTMLButtonElement): void => {
    const picture = read();
    opener?.setAttribute("aria-expanded", "false");
    opener = button;
    const confirm = h("button", { type: "submit", class: "mm-button mm-danger" }, wish.title);
    const input = wish.number
      ? h("input", { class: "mm-number", type: "number", min: 0.1, max: 100, step: "any", required: true, "aria-label": wish.number.unit })
      : null;
    if (input && wish.number) input.value = String(wish.number.value(picture));
    const form = h("form", { class: "mm-ask" }, input, input ? h("span", {}, wish.number?.unit) : null, confirm, dismiss("Cancel"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const given = input && wish.number ? { [wish.number.argument]: input.valueAsNumber } : {};
      void perform(wish, given);
    });
    say("ask", "group", h("p", {}, ...wish.question(picture)));
    dialogue.append(form);
    dialogue.setAttribute("aria-label", wish.title);
    dialogue.hidden = false;
    button.setAttribute("aria-expanded", "true");
    (input ?? confirm).focus();
  };

  const offered = WISHES.filter(({ verb }) => actions.can.includes(verb)).map((wish) => {
    const button = h("button", { type: "button", class: "mm-button", "aria-expanded": "false" }, wish.label);
    button.addEventListener("click", () => (opener === button ? close() : ask(wish, button)));
    return { wish, button };
  });
  buttons.append(...offered.map(({ button }) => button));

  dialogue.addEventListener("keydown", (event) => {
    event.stopPropagation(); // not the notebook's shortcuts
    if (event.key === "Escape" && !busy) close();
  });
  return {
    buttons,
    dialogue,
    update(picture) {
      for (const { wish, button } of offered) button.hidden = !wish.offered(picture);
    },
  };
}
