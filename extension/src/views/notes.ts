// Sentences about the picture: what is missing, and why.

import { changes, h, replace, type View } from "../dom";
import type { Picture } from "../picture";

export function notes(): View<Picture> {
  const element = h("ul", { class: "mm-notes", "aria-label": "Notes" });
  const changed = changes();
  return {
    element,
    update(picture) {
      if (!changed(picture.notes)) return;
      element.hidden = picture.notes.length === 0;
      replace(element, ...picture.notes.map((note) => h("li", {}, note)));
    },
  };
}
