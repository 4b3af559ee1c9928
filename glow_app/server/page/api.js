// Requests to the API, and its errors.

const KEY = "glow-api-key";

/** What the API answers where it cannot do what was asked for. */
export class ApiError extends Error {
  constructor(status, message, requestId = null, retryAfter = null) {
    super(message);
    Object.assign(this, { status, requestId, retryAfter });
  }
}

/** Keep the key for this tab: not longer, and not for other tabs. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Return whether there is a key, right or wrong. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return key === null ? more : { ...more, Authorization: `Bearer ${key}` };
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));  // a proxy's error has another shape
  const message = body.error?.message ?? `The server answered ${response.status} ${response.statusText}`;
  const after = Number(response.headers.get("Retry-After")) || null;
  throw new ApiError(response.status, message, body.error?.request_id ?? null, after);
}

/** Return what /v1/info tells of the model and its server. */
export async function getInfo() {
  return (await answered("v1/info", { headers: headers({}) })).json();
}

// Paths are relative: behind a proxy the page may live below a path.
function post(path, body, signal, accept) {
  const content = { "Content-Type": "application/json", Accept: accept };
  return answered(path, { method: "POST", headers: headers(content), body: JSON.stringify(body), signal });
}

/** Return the JSON that an endpoint answers; aborting the signal lets the server drop the work. */
export async function ask(endpoint, body, signal) {
  return (await post(`v1/${endpoint}`, body, signal, "application/json")).json();
}

/** Return the picture, a Blob, that an endpoint answers: "image/png", "image/gif" or "image/webp". */
export async function askFile(endpoint, body, type, signal) {
  return (await post(`v1/${endpoint}`, body, signal, type)).blob();
}
