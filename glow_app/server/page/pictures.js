// Pictures on their way to and from the server: {name, alt, url, note, read()}, where read() promises the data URL.

import { h, icon, joined } from "./dom.js";
import { reducedPicture } from "./reduce.js";

/** What is wrong with one of several pictures, by its place among them. */
export class Fault extends Error {
  constructor(place, text) {
    super(text);
    Object.assign(this, { place, text });
  }
}

/** Return the picture that a PNG in base64 is. */
export function fromPng(base64, name, alt) {
  const url = `data:image/png;base64,${base64}`;
  return { name, alt, note: null, url, read: async () => url };
}

/** Return the picture in a file, which is read when it is sent and not before: there may be hundreds. */
export function fromFile(file, shape) {
  const picture = { name: file.name, alt: file.name, note: null, file, size: null, crop: null };
  let content = null;
  const load = async () => {
    const reduced = await reducedPicture(file, shape, picture.crop);
    release(picture);
    // What is sent is what is shown from now on: it is small, and stays where the file is changed or deleted.
    Object.assign(picture, reduced);
    return reduced.url;
  };
  picture.url = URL.createObjectURL(file);
  picture.read = () =>
    (content ??= load().catch((error) => {
      content = null;
      release(picture);
      picture.url = "";  // there is nothing to show
      throw error;
    }));
  picture.setCrop = (crop) => {
    Object.assign(picture, { crop, inferred: undefined });
    content = null;
  };
  return picture;
}

/** Return what a data URL has of its file. */
export const base64Of = (url) => url.split(",")[1] ?? "";

/** Return the base64 of pictures that are sent together; throw a Fault where a file is gone, or they are too many bytes. */
export async function readAll(pictures, limits) {
  const gone = "it was changed or deleted after it was chosen, so that the browser cannot read it; choose it again";
  const refuse = (place) => () => Promise.reject(new Fault(place, gone));
  const urls = await Promise.all(pictures.map((picture, place) => picture.read().catch(refuse(place))));
  const contents = urls.map(base64Of);
  const lengths = contents.map(({ length }) => length);
  const bytes = lengths.reduce((sum, length) => sum + length + 4, 1000);  // of the body, and no fewer
  if (bytes > limits.body_bytes) {
    const place = lengths.indexOf(Math.max(...lengths));
    const most = (((limits.body_bytes - 1000) / 4) * 3) / 2 ** 20;
    throw new Fault(place, `too large; this server takes ${most.toFixed(1)} MiB at a time`);
  }
  return contents;
}

/** Return which picture of a request is at fault, by its place, and why; null where none is. */
export function faultOf(error) {
  if (error instanceof Fault) return error;
  const match = [413, 415, 422].includes(error.status) && /^images?(?:\[(\d+)\])?: (.*)$/s.exec(error.message);
  return match ? new Fault(Number(match[1] ?? 0), match[2]) : null;
}

/** Return what was done to a picture, by the browser and then by the server. */
export const noteOf = (picture, note) => joined(", then ", picture.note, note);

/** Let go of what the browser keeps for a picture's address. */
export function release(picture) {
  if (picture?.url.startsWith("blob:")) URL.revokeObjectURL(picture.url);
}

/** Return a picture small, to know it by; an icon where the browser cannot show it, which the server may still read. */
export function thumbnail(picture) {
  if (picture.url === "") return icon("picture");
  return h("img", { src: picture.url, alt: "", onerror: (event) => event.target.replaceWith(icon("picture")) });
}

/** Save something, a Blob or an address, under a name. */
export function download(what, name) {
  const url = what instanceof Blob ? URL.createObjectURL(what) : what;
  h("a", { href: url, download: name }).click();
  // The browser may not have begun to read it.
  if (what instanceof Blob) setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
