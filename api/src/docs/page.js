// Renders the OpenAPI document of this server. Texts are set as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

/** A description: what stands in backticks is code, the rest plain text. */
function prose(name, text) {
  const parts = (text || "").split("`");
  return element(name, "", ...parts.map((part, i) => (i % 2 ? element("code", part) : part)));
}

/** Follows references and joins `allOf` into one object schema. */
function resolve(doc, schema) {
  if (!schema) return {};
  if (schema.$ref) return resolve(doc, doc.components.schemas[schema.$ref.split("/").pop()]);
  const choices = (schema.oneOf || schema.anyOf || []).filter((s) => s.type !== "null");
  if (choices.length > 0 && choices.every((s) => s.const !== undefined || s.enum)) {
    return { ...schema, type: "string", enum: choices.flatMap((s) => s.enum || [s.const]) };
  }
  if (choices.length > 0) return { ...resolve(doc, choices[0]), description: schema.description };
  if (!schema.allOf) return schema;
  const parts = schema.allOf.map((part) => resolve(doc, part));
  return {
    ...schema,
    type: "object",
    properties: Object.assign({}, ...parts.map((p) => p.properties), schema.properties),
    required: parts.flatMap((p) => p.required || []).concat(schema.required || []),
  };
}

function typeName(schema) {
  const types = [].concat(schema.type || "any").filter((t) => t !== "null");
  const name = schema.enum ? schema.enum.map((v) => JSON.stringify(v)).join(" | ") : types.join(" | ");
  return schema.format ? `${name} (${schema.format})` : name;
}

function example(doc, schema, depth = 0) {
  const s = resolve(doc, schema);
  const given = s.example ?? s.examples?.[0] ?? s.default;
  if (given !== undefined) return given;
  if (s.enum) return s.enum[0];
  const type = [].concat(s.type || "object").find((t) => t !== "null");
  if (type === "array") return depth > 5 ? [] : [example(doc, s.items, depth + 1)];
  if (type === "object") {
    const entries = depth > 5 ? [] : Object.entries(s.properties || {});
    return Object.fromEntries(entries.map(([name, p]) => [name, example(doc, p, depth + 1)]));
  }
  return { string: "text", integer: 0, number: 0, boolean: true }[type] ?? null;
}

function table(rows) {
  const body = rows.map(([name, type, needed, about]) =>
    element("tr", "", element("td", "", element("code", name)), element("td", type),
      element("td", needed ? "required" : ""), prose("td", about)));
  return element("table", "", element("tbody", "", ...body));
}

function schemaTable(doc, schema) {
  const s = resolve(doc, schema);
  return table(Object.entries(s.properties || {}).map(([name, property]) => {
    const p = resolve(doc, property);
    return [name, typeName(p), (s.required || []).includes(name), property.description || p.description];
  }));
}

function json(value) {
  return element("pre", "", element("code", JSON.stringify(value, null, 2)));
}

function jsonSchema(holder) {
  return holder?.content?.["application/json"]?.schema;
}

function curl(doc, method, path, operation) {
  const lines = [`curl -X ${method.toUpperCase()} ${location.origin}${path}`];
  const open = (operation.security || [{}]).some((s) => Object.keys(s).length === 0) && operation.security;
  if (!open) lines.push(`-H "Authorization: Bearer $KEY"`);
  if (operation.parameters?.some((p) => p.name === "X-Account-Id")) lines.push(`-H "X-Account-Id: user-1"`);
  const body = jsonSchema(operation.requestBody);
  if (body) {
    lines.push(`-H "Content-Type: application/json"`);
    lines.push(`-d '${JSON.stringify(example(doc, body))}'`);
  }
  return lines.join(" \\\n  ");
}

function operationBody(doc, method, path, operation) {
  const parts = [];
  if (operation.description) parts.push(prose("p", operation.description));
  if (operation.parameters?.length) {
    parts.push(element("h3", "Parameters"), table(operation.parameters.map((p) =>
      [`${p.name} (${p.in})`, typeName(resolve(doc, p.schema)), p.required, p.description])));
  }
  const body = jsonSchema(operation.requestBody);
  if (body) parts.push(element("h3", "Body"), schemaTable(doc, body));
  parts.push(element("h3", "Try"), element("pre", "", element("code", curl(doc, method, path, operation))));
  for (const [status, response] of Object.entries(operation.responses)) {
    const schema = jsonSchema(response);
    parts.push(element("h3", `Answer ${status}`));
    if (response.description) parts.push(prose("p", response.description));
    if (schema) parts.push(json(example(doc, schema)));
  }
  return parts;
}

function operationCard(doc, method, path, operation) {
  const title = element("summary", "",
    element("code", `${method.toUpperCase()} `), element("code", path),
    element("span", ` ${operation.summary || ""}`));
  title.firstChild.className = "method";
  title.lastChild.className = "dim";
  const card = element("details", "", title);
  card.id = operation.operationId;
  card.dataset.words = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
  card.addEventListener("toggle", () => {
    if (card.childElementCount === 1) card.append(...operationBody(doc, method, path, operation));
  });
  return card;
}

function render(doc) {
  document.getElementById("about").replaceChildren(...prose("p", doc.info.description).childNodes);
  const groups = new Map();
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of METHODS.filter((m) => item[m])) {
      const tag = item[method].tags?.[0] || "other";
      if (!groups.has(tag)) groups.set(tag, element("section", "", element("h2", tag)));
      groups.get(tag).append(operationCard(doc, method, path, item[method]));
    }
  }
  document.getElementById("operations").append(...groups.values());
  const linked = document.getElementById(location.hash.slice(1));
  if (linked) linked.open = true;
}

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const card of document.querySelectorAll("details")) {
    card.hidden = !card.dataset.words.includes(wanted);
  }
});

fetch("/api/v1/openapi.json")
  .then((answer) => answer.json())
  .then(render)
  .catch((error) => { document.getElementById("about").textContent = `The document did not load: ${error}`; });
