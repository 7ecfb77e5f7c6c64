// "Roll back": asks first, calls the source, and shows what came of it where it was asked.

import { h, replace, type Child } from "../dom";
import type { Picture } from "../picture";
import type { Actions } from "../source";

export interface Rollback {
  button: HTMLButtonElement;
  dialogue: HTMLElement;
  update(picture: Picture): void;
}

export function rollback(actions: Actions): Rollback {
  let picture: Picture | null = null;
  const button = h(
    "button",
    { type: "button", class: "mm-button", "aria-expanded": "false" },
    "Roll back…",
  );
  const dialogue = h("div", { class: "mm-dialogue", role: "group", "aria-label": "Roll back" });
  dialogue.hidden = true;

  const close = (): void => {
    dialogue.hidden = true;
    button.setAttribute("aria-expanded", "false");
    button.focus();
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

  const perform = async (): Promise<void> => {
    button.disabled = true;
    say("busy", "status", h("span", { class: "mm-spinner", "aria-hidden": "true" }), "Rolling back…");
    const outcome = await actions.rollBack();
    button.disabled = false;
    say(
      outcome.ok ? "done" : "failed",
      outcome.ok ? "status" : "alert",
      h("p", {}, h("strong", {}, outcome.ok ? "Rolled back. " : "Not rolled back. "), outcome.message),
      outcome.hint ? h("p", {}, h("code", {}, outcome.hint)) : null,
    );
    const done = dismiss("Close");
    dialogue.append(done);
    done.focus();
  };

  const ask = (): void => {
    const confirm = h("button", { type: "button", class: "mm-button mm-danger" }, "Roll back");
    confirm.addEventListener("click", () => void perform());
    say("ask", "group", h("p", {}, ...question(picture)));
    dialogue.append(confirm, dismiss("Cancel"));
    dialogue.hidden = false;
    button.setAttribute("aria-expanded", "true");
    confirm.focus();
  };

  button.addEventListener("click", () => (dialogue.hidden ? ask() : close()));
  dialogue.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !button.disabled) {
      event.stopPropagation();
      close();
    }
  });
  return {
    button,
    dialogue,
    update(now) {
      picture = now;
    },
  };
}

function question(picture: Picture | null): Child[] {
  if (picture === null) return ["Roll back to the previous revision?"];
  const current = picture.variants.find(({ variant }) => variant === "champion") ?? picture.variants[0];
  const from = current ? ` It is at revision ${current.number} (${current.model}/${current.version ?? "–"}) now.` : "";
  return [
    "Send all traffic of ",
    h("strong", {}, picture.endpoint),
    ` back to its previous revision?${from} No request is lost.`,
  ];
}
