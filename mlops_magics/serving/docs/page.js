"use strict";
// Shows openapi.json and sends requests. Texts become text nodes only; the token stays in its field.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

let fields = 0;
function labelled(text, field) {
  field.id = `field-${(fields += 1)}`;
  return [element("label", { for: field.id }, text), field];
}

function row(...cells) {
  return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
}

function answers(operation, shared) {
  const rows = Object.entries(operation.responses).map(([status, response]) => {
    const name = response.$ref ? response.$ref.split("/").pop() : null;
    const found = name ? shared.responses[name] : response;
    const headers = Object.keys(found.headers || {}).join(", ");
    return row(status, found.description, headers);
  });
  const more = element("details", { class: "more" }, element("summary", {}, "answers and headers"));
  more.append(element("table", {}, ...rows));
  return more;
}

function structure(schema) {
  const more = element("details", { class: "more" }, element("summary", {}, "schema of the body"));
  more.append(element("pre", { tabindex: "0" }, JSON.stringify(schema, null, 2)));
  return more;
}

async function send(method, path, inputs, body, output, button) {
  button.disabled = true;
  let target = path;
  const headers = {};
  for (const [parameter, field] of inputs) {
    if (parameter.in === "path") {
      target = target.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
    } else if (field.value) {
      headers[parameter.name] = field.value;
    }
  }
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { method, headers, credentials: "omit", cache: "no-store" };
  if (body) {
    headers["Content-Type"] = "application/json";
    options.body = body.value;
  }
  const begun = performance.now();
  try {
    const response = await fetch(target, options);
    const text = await response.text();
    const time = `${(performance.now() - begun).toFixed(1)} ms`;
    const status = element(
      "strong", { class: response.ok ? "good" : "bad" }, `${response.status} ${response.statusText}`,
    );
    const told = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    output.replaceChildren(
      element("p", {}, status, ` in ${time}`),
      element("pre", { tabindex: "0" }, pretty(text)),
      element("pre", { tabindex: "0" }, told),
    );
    if (response.status === 401) document.getElementById("token").focus();
  } catch (error) {
    output.replaceChildren(element("p", {}, `No answer: ${error.message}`));
  }
  button.disabled = false;
}

function pretty(text) {
  // an answer's numbers are shown as they came: parsing would round what is beyond a double
  if (/\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function card(path, method, operation, shared) {
  const title = element("summary", {}, element("b", { class: "method" }, method.toUpperCase()),
    element("code", {}, path), element("span", {}, operation.summary || ""));
  const inside = element("form", { class: "inside" });
  const inputs = (operation.parameters || []).map((parameter) => {
    const field = element("input", { type: "text", spellcheck: "false" });
    if (parameter.required) field.required = true;
    inside.append(...labelled(parameter.name, field));
    return [parameter, field];
  });
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  let body = null;
  if (content) {
    body = element("textarea", { spellcheck: "false" });
    body.value = content.example ? JSON.stringify(content.example, null, 1) : "";
    inside.append(...labelled("Body", body));
  }
  const button = element("button", { type: "submit" }, "Send");
  const output = element("output", { "aria-live": "polite" });
  inside.addEventListener("submit", (event) => {
    event.preventDefault();
    send(method.toUpperCase(), path, inputs, body, output, button);
  });
  inside.append(button, output);
  if (content) inside.append(structure(content.schema));
  inside.append(answers(operation, shared));
  return element("details", {}, title, inside);
}

async function show() {
  const main = document.getElementById("operations");
  const about = document.getElementById("about");
  try {
    const found = await (await fetch("/openapi.json", { cache: "no-store" })).json();
    about.textContent = `${found.info.title} ${found.info.version} at ${found.servers[0].url}`;
    for (const tag of found.tags) {
      const section = element("section", {}, element("h2", {}, tag.name));
      for (const [path, methods] of Object.entries(found.paths)) {
        for (const [method, operation] of Object.entries(methods)) {
          if (operation.tags[0] === tag.name) {
            section.append(card(path, method, operation, found.components));
          }
        }
      }
      main.append(section);
    }
    const first = main.querySelector("details");
    if (first) first.open = true;
  } catch (error) {
    about.textContent = `The description cannot be read: ${error.message}`;
  }
  main.setAttribute("aria-busy", "false");
}

document.getElementById("access").addEventListener("submit", (event) => event.preventDefault());
show();
