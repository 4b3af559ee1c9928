// "Use this from code": the last request of the shown tab for curl, Python and JavaScript, in a dialog.

import { hasKey, latest } from "./api.js";
import { announce, byId } from "./dom.js";
import { choice } from "./fields.js";
import { readAddress } from "./tabs.js";

const ACCEPT = { sample: "image/png", edit: "image/png", interpolate: "image/webp", restore: "image/png" };
const LISTS = ["images", "restorer"];  // sent as a field each
const KEY = "GLOW_API_KEY";  // an environment variable
const LANGUAGES = { curl, Python: python, JavaScript: javascript };

/** Start the button and its dialog. */
export function startCode() {
  const dialog = byId("code");
  const [text, copy] = ["code", ".primary"].map((part) => dialog.querySelector(part));
  const show = () => (text.textContent = LANGUAGES[language.value](requestOf(readAddress().tab || "sample")));
  const language = choice({ name: "language", label: "Language", texts: Object.keys(LANGUAGES), oninput: show });
  dialog.querySelector("pre").before(language.element);
  byId("code-open").addEventListener("click", show);
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text.textContent);
    announce("Copied");
  });
}

/** Return the address, the parts [name, text, file], the headers, and the file for the answer; null if it is JSON. */
function requestOf(endpoint) {
  const fields = latest[endpoint] ?? { images: ["data:"] };
  const isPicture = (name, value) => value instanceof Blob || /^(images?|inputs\.mask)$/.test(name);
  const each = Object.entries(fields).flatMap(([name, value]) => (LISTS.includes(name) ? value.map((each) => [name, each]) : [[name, value]]));
  const wanted = each.filter(([name, value]) => value != null && name !== "size");  // a size is that of a preview
  let count = 0;
  const fileOf = (name) => (name === "inputs.mask" ? "mask.png" : `picture${++count}.png`);
  const textOf = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const parts = wanted.map(([name, value]) => (isPicture(name, value) ? [name, null, fileOf(name)] : [name, textOf(value)]));
  const accept = ACCEPT[endpoint];
  const suffix = fields.count > 1 ? "zip" : accept?.slice(6);
  return { url: new URL(`v1/${endpoint}`, location.href.split("#")[0]).href, parts, accept, result: accept ? `result.${suffix}` : null };
}

function curl({ url, parts, accept, result }) {
  const quoted = (text) => (/^[\w=@.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const fields = parts.map(([name, text, file]) => `-F ${quoted(`${name}=${file ? `@${file}` : text}`)}`);
  const key = hasKey() ? [`-H "Authorization: Bearer $${KEY}"`] : [];
  return ["curl", url, ...fields, ...(accept ? [`-H 'Accept: ${accept}'`, `-o ${result}`] : []), ...key].join(" \\\n  ").replace(" \\\n ", "");
}

function python({ url, parts, accept, result }) {
  const fields = parts.map(([name, text, file]) => `("${name}", ${file ? `open("${file}", "rb")` : `(None, ${JSON.stringify(text)})`}),`);
  const headers = [...(accept ? [`"Accept": "${accept}"`] : []), ...(hasKey() ? [`"Authorization": "Bearer " + os.environ["${KEY}"]`] : [])];
  const answer = result ? `with open("${result}", "wb") as file:\n    file.write(response.content)` : "print(response.json())";
  const post = `response = requests.post(\n    "${url}",\n    files=[\n${fields.map((field) => `        ${field}\n`).join("")}    ],\n    headers={${headers.join(", ")}},\n)`;
  return `${hasKey() ? "import os\n\n" : ""}import requests\n\n${post}\nresponse.raise_for_status()\n${answer}\n`;
}

function javascript({ url, parts, accept, result }) {
  const fields = parts.map(([name, text, file]) => `body.append("${name}", ${file ? `await openAsBlob("${file}")` : JSON.stringify(text)});\n`);
  const headers = [...(accept ? [`Accept: "${accept}"`] : []), ...(hasKey() ? [`Authorization: \`Bearer \${process.env.${KEY}}\``] : [])];
  const imports = 'import { openAsBlob, writeFileSync } from "node:fs";\n\n';
  const answer = result ? `writeFileSync("${result}", Buffer.from(await response.arrayBuffer()));` : "console.log(await response.json());";
  const post = `const response = await fetch("${url}", { method: "POST", body, headers: { ${headers.join(", ")} } });`;
  return `${imports}const body = new FormData();\n${fields.join("")}${post}\nif (!response.ok) throw new Error(await response.text());\n${answer}\n`;
}
