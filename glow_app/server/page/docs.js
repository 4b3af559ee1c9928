// The API reference: renders openapi.json, which carries the bounds of this server and this model.

import { announce, byId, h } from "./dom.js";

/** Return a text whose parts in backticks are code. */
function prose(text = "") {
  return text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

/** Return the section of an OpenAPI document that a reference names, or the schema itself. */
function resolve(api, schema) {
  return schema.$ref ? schema.$ref.slice(2).split("/").reduce((node, name) => node[name], api) : schema;
}

function range(low, high, unit = "") {
  if (low === undefined && high === undefined) return "";
  if (low === high) return `, exactly ${low}${unit}`;
  if (high === undefined) return `, at least ${low}${unit}`;
  return low === undefined ? `, at most ${high}${unit}` : `, ${low} to ${high}${unit}`;
}

/** Return the type and the bounds of a schema in words. */
function typeOf(api, schema) {
  const { type, ...rest } = resolve(api, schema);
  if (rest.anyOf) return rest.anyOf.map((each) => typeOf(api, each)).join("; or ");
  if (rest.enum) return rest.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (rest.const !== undefined) return JSON.stringify(rest.const);
  if (type === "array") {
    const item = typeOf(api, rest.items ?? {});
    return `array of ${/; or|^array/.test(item) ? `(${item})` : item}${range(rest.minItems, rest.maxItems, " items")}`;
  }
  if (type === "string") {
    const kind = rest.format === "byte" ? "base64 string" : "string";
    return kind + range(rest.minLength, rest.maxLength, " characters");
  }
  return (type ?? "any value") + range(rest.minimum ?? rest.exclusiveMinimum, rest.maximum ?? rest.exclusiveMaximum);
}

/** Return the object schema inside a field, and what its name gets appended: nothing, or [] for each array. */
function inner(api, schema, suffix = "") {
  const resolved = resolve(api, schema);
  if (resolved.properties) return { object: resolved, suffix };
  if (resolved.items) return inner(api, resolved.items, `${suffix}[]`);
  const within = (resolved.anyOf ?? []).map((each) => inner(api, each, suffix)).find(Boolean);
  return within ?? null;
}

function fieldsOf(api, schema, isRequest, prefix = "") {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const facts = [typeOf(api, field)];
    if (isRequest && schema.required?.includes(name)) facts.push("required");
    if (field.default !== undefined && field.default !== null) facts.push(`default ${JSON.stringify(field.default)}`);
    const nested = inner(api, field);
    return [
      h("dt", {}, h("code", {}, prefix + name), " ", h("span", { className: "type" }, facts.join("; "))),
      h("dd", {}, ...prose(field.description ?? nested?.object.description ?? field.items?.description)),
      ...(nested ? fieldsOf(api, nested.object, isRequest, `${prefix}${name}${nested.suffix}.`) : []),
    ];
  });
}

/** Return the fields of a media type as a description list, or nothing if it has none. */
function fieldList(api, content, isRequest) {
  const schema = content?.["application/json"]?.schema;
  const nested = schema && inner(api, schema);
  return nested ? [h("dl", { className: "fields" }, ...fieldsOf(api, nested.object, isRequest))] : [];
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {  // without TLS a browser gives pages of other machines no clipboard
    window.getSelection().selectAllChildren(code);
    button.textContent = "Selected: press Ctrl+C";
  }
  announce(button.textContent);
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

/** Return a command with a button that copies it. */
function command(title, text) {
  const code = h("code", {}, text);
  const button = h("button", { "aria-label": `Copy: ${title}` }, "Copy");
  button.addEventListener("click", () => copy(code, button));
  return h("div", { className: "command" }, h("p", {}, title), button, h("pre", { tabIndex: 0 }, code));
}

/** Return the curl command of a request; the shell takes all between single quotes as it is. */
function curl(path, method, value, isGuarded) {
  const lines = [`curl -s ${new URL(path.slice(1), new URL(".", window.location.href))}`];
  if (isGuarded) lines.push('-H "Authorization: Bearer $GLOW_API_KEY"');
  if (method === "head") lines[0] = lines[0].replace("-s", "-sI");
  if (value !== undefined) {
    lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(value).replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}

function examplesOf(path, method, operation) {
  const examples = operation.requestBody?.content["application/json"]?.examples;
  const isGuarded = Boolean(operation.security);
  if (!examples) return [command("Request", curl(path, method, undefined, isGuarded))];
  return Object.values(examples).map(({ summary, value }) => command(summary, curl(path, method, value, isGuarded)));
}

function answersOf(api, operation) {
  const answers = Object.entries(operation.responses);
  const [good, bad] = [answers.filter(([status]) => status < 400), answers.filter(([status]) => status >= 400)];
  const errors = bad.flatMap(([status, { description }]) => [h("dt", {}, h("code", {}, status)), h("dd", {}, ...prose(description))]);
  return [
    h("h3", {}, "Answer"),
    ...good.flatMap(([status, answer]) => [
      h("p", {}, h("code", {}, status), " ", ...prose(answer.description)),
      ...fieldList(api, answer.content, false),
    ]),
    ...(errors.length ? [h("h3", {}, "Errors"), h("dl", { className: "errors" }, ...errors)] : []),
  ];
}

function section(api, path, method, operation) {
  const fields = fieldList(api, operation.requestBody?.content, true);
  return h(
    "section",
    { id: method + path.replaceAll("/", "-") },
    h("h2", {}, h("span", { className: "method" }, method.toUpperCase()), " ", h("code", {}, path)),
    h("p", {}, ...prose(operation.description)),
    ...(fields.length ? [h("h3", {}, "Fields"), ...fields] : []),
    h("h3", {}, "Example"),
    ...examplesOf(path, method, operation),
    ...answersOf(api, operation),
  );
}

function introduction(api) {
  const key = api.components.securitySchemes
    ? ["Requests below ", h("code", {}, "/v1/"), " need a key: the header ", h("code", {}, "Authorization: Bearer KEY"), "."]
    : ["This server asks for no key."];
  const errors = fieldList(api, { "application/json": { schema: { $ref: "#/components/schemas/ErrorAnswer" } } }, false);
  return h(
    "section",
    { id: "about-the-api" },
    h("p", {}, "Requests and answers are JSON. Pictures in them are files in base64. ", ...key),
    h("p", {}, "The examples are for a shell with ", h("code", {}, "curl"), ". Every error has this shape:"),
    ...errors,
  );
}

function show(api) {
  byId("facts").textContent = `version ${api.info.version}`;
  const sections = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(api, path, method, operation)),
  );
  const links = sections.map((section) => h("li", {}, h("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)));
  byId("contents").replaceChildren(h("ul", {}, ...links));
  byId("reference").replaceChildren(introduction(api), ...sections);
  // The address may name a section, which was not there when the browser looked for it.
  document.getElementById(window.location.hash.slice(1))?.scrollIntoView();
}

async function start() {
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    show(await response.json());
  } catch (error) {
    byId("reference").replaceChildren(
      h("p", { role: "alert", className: "error" }, `The description of the API could not be loaded: ${error.message}.`),
    );
  }
}

start();
