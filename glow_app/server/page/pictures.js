// Pictures on their way to and from the server: {name, alt, url, size, read()}, where read() promises the base64.

import { h, icon } from "./dom.js";

/** Return the picture that a PNG in base64 is. */
export function fromPng(base64, name, alt) {
  const size = base64.length * 0.75;
  return { name, alt, size, url: `data:image/png;base64,${base64}`, read: async () => base64 };
}

/** Return the picture in a file, which is read when it is sent and not before: there may be hundreds. */
export function fromFile(file) {
  return { name: file.name, alt: file.name, size: file.size, url: URL.createObjectURL(file), read: () => readBase64(file) };
}

/** Let go of what the browser keeps for a picture's address. */
export function release(picture) {
  if (picture?.url.startsWith("blob:")) URL.revokeObjectURL(picture.url);
}

/** Return a picture small, to know it by; an icon where the browser cannot show it, which the server may still read. */
export function thumbnail(picture) {
  const image = h("img", { src: picture.url, alt: "", onerror: () => image.replaceWith(icon("picture")) });
  return image;
}

/** Return which picture of a request the server refuses, by its place, and why; null where none is at fault. */
export function faultOf(error) {
  const found = [413, 415, 422].includes(error.status) && /^images?(?:\[(\d+)\])?: (.*)$/s.exec(error.message);
  return found ? { place: Number(found[1] ?? 0), text: found[2] } : null;
}

function readBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}

/** Return the bytes that pictures take in a request's body, a little more rather than less. */
export function bodyBytes(pictures) {
  return pictures.reduce((sum, picture) => sum + Math.ceil(picture.size / 3) * 4 + 4, 1000);
}

/** Return what is wrong with the size of pictures that are sent together, or null. */
export function tooLarge(pictures, limits) {
  if (bodyBytes(pictures) <= limits.body_bytes) return null;
  const most = (((limits.body_bytes - 1000) / 4) * 3) / 2 ** 20;
  const names = pictures.map((picture) => picture.name).join(" and ");
  return `${names}: too large; this server takes ${most.toFixed(1)} MiB at a time.`;
}

/** Save something, a Blob or an address, under a name. */
export function download(what, name) {
  const url = what instanceof Blob ? URL.createObjectURL(what) : what;
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  // The browser may not have begun to read it.
  if (what instanceof Blob) setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
