// Requests to the API, and its errors. Paths are relative, because a proxy may serve the page below a path.

import { readAddress } from "./tabs.js";

const KEY = "glow-api-key";

export const latest = {};  // the body of the last request of each tab, whose endpoint has its name

export const keepKey = (key) => sessionStorage.setItem(KEY, key);
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

async function request(endpoint, { headers, ...options } = {}) {
  const authorization = hasKey() ? { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` } : {};
  let response;
  try {
    response = await fetch(`v1/${endpoint}`, { ...options, headers: { ...headers, ...authorization } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));  // a proxy's error has another shape
  const message = body.error?.message ?? `The server answered ${response.status} ${response.statusText}`;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  throw Object.assign(new Error(message), { status: response.status, requestId: body.error?.request_id, retryAfter });
}

function post(endpoint, body, signal, accept) {
  const headers = { "Content-Type": "application/json", Accept: accept };
  if (endpoint === (readAddress().tab || "sample")) latest[endpoint] = body;  // others draw what a tab begins with
  return request(endpoint, { method: "POST", headers, body: JSON.stringify(body), signal });
}

export const getInfo = async () => (await request("info")).json();

/** Return the JSON answer of an endpoint; aborting the signal lets the server drop the work. */
export const ask = async (endpoint, body, signal) => (await post(endpoint, body, signal, "application/json")).json();

/** Return the picture of an endpoint as a Blob: "image/png", "image/gif" or "image/webp". */
export const askFile = async (endpoint, body, type, signal) => (await post(endpoint, body, signal, type)).blob();

/**
 * Return the response to a restoration, whose fields are sent as a form with pictures as files; onshare gets the share
 * that is done, which is asked for every second.
 */
export async function askRestored(fields, accept, signal, onshare) {
  const id = `${Date.now()}-${Math.random()}`;
  const timer = setInterval(async () => {
    const { share } = await request(`progress?request_id=${id}`, { signal }).then((answer) => answer.json()).catch(() => ({}));
    if (share) onshare(share);
  }, 1000);
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    const isText = typeof value === "string" || value instanceof Blob;
    if (name === "restorer") value.forEach((each) => body.append(name, each));
    else if (value != null) body.append(name, isText ? value : JSON.stringify(value));
  }
  const headers = { Accept: accept, "X-Request-ID": id };
  latest.restore = fields;
  return request("restore", { method: "POST", headers, body, signal }).finally(() => clearInterval(timer));
}
