// Light or dark, as the application around us says: JupyterLab, VS Code, else the system.

export function isDark(): boolean {
  const body = document.body;
  const lab = body.dataset["jpThemeLight"];
  if (lab !== undefined) return lab === "false";
  const code = body.dataset["vscodeThemeKind"];
  if (code !== undefined) return code.includes("dark") || code === "vscode-high-contrast";
  if (body.dataset["theme"]) return body.dataset["theme"] === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Marks the element with the theme, now and when it changes; the returned function ends it. */
export function followTheme(element: HTMLElement, changed: () => void): () => void {
  const apply = (): void => {
    const theme = isDark() ? "dark" : "light";
    if (element.dataset["theme"] === theme) return;
    element.dataset["theme"] = theme;
    changed();
  };
  apply();
  const observer = new MutationObserver(apply);
  observer.observe(document.body, { attributes: true });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", apply);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", apply);
  };
}

/** A colour of the stylesheet, for the canvas, which knows no CSS variables. */
export function colour(element: Element, name: string): string {
  return getComputedStyle(element).getPropertyValue(`--mm-${name}`).trim() || "gray";
}
