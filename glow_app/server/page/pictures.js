// Pictures to and from the server: {name, alt, url, note, read()}, where read() promises the data URL.

import { h, icon, joined } from "./dom.js";
import { reducedPicture } from "./reduce.js";

export const GONE = "the file was changed or deleted after it was chosen; choose it again";

/** Return the error of one of several pictures. */
export const faultAt = (place, text) => Object.assign(new Error(text), { place });

export function fromBase64(base64, name, alt, type = "image/png") {
  const url = `data:${type};base64,${base64}`;
  return { name, alt, note: null, url, read: async () => url };
}

/** Return the file in a data URL; the page's policy forbids to fetch it. */
export function blobOf(url) {
  const [, type, base64] = /^data:(.*);base64,(.*)$/s.exec(url);
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}

/** Return the picture in a file, which is read only when it is sent, because there may be hundreds. */
export function fromFile(file, shape) {
  const picture = { name: file.name, alt: file.name, note: null, file, size: null, crop: null };
  let content = null;
  const load = async () => {
    const reduced = await reducedPicture(file, shape, picture.crop);
    release(picture);
    // From now on, show what is sent: it is small, and remains if the file is changed or deleted.
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
    Object.assign(picture, { crop, inferred: undefined, oddity: undefined });
    content = null;
  };
  return picture;
}

/** Return the data URLs of pictures that are sent together; throw a fault if a file is gone or they are too large. */
export async function readAll(pictures, limits) {
  const refuse = (place) => () => Promise.reject(faultAt(place, GONE));
  const urls = await Promise.all(pictures.map((picture, place) => picture.read().catch(refuse(place))));
  const lengths = urls.map(({ length }) => length);
  const bytes = lengths.reduce((sum, length) => sum + length + 4, 1000);  // at least those of the body
  if (bytes > limits.body_bytes) {
    const place = lengths.indexOf(Math.max(...lengths));
    const most = (((limits.body_bytes - 1000) / 4) * 3) / 2 ** 20;
    throw faultAt(place, `too large; this server accepts ${most.toFixed(1)} MiB at a time`);
  }
  return urls;
}

/** Return the fault in an error of a request, {place, message}; null if it is not about a picture. */
export function faultOf(error) {
  if (error.place !== undefined) return error;
  const match = [413, 415, 422].includes(error.status) && /^images?(?:\[(\d+)\])?: (.*)$/s.exec(error.message);
  return match ? faultAt(Number(match[1] ?? 0), match[2]) : null;
}

/** Return a name for a file: "holiday-enlarged.png" for "Holiday.jpg" and "enlarged". */
export function fileName(...words) {
  const plain = (word) => word.toLowerCase().replace(/\.\w+$/, "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  return `${words.map(plain).join("-")}.png`;
}

/** Return how a picture was changed, by the browser and by the server. */
export const noteOf = (picture, note) => joined(" and ", picture.note, note);

export function release(picture) {
  if (picture?.url?.startsWith("blob:")) URL.revokeObjectURL(picture.url);
}

/** Return a thumbnail, or an icon if the browser cannot show the picture, which the server may still read. */
export function thumbnail(picture) {
  if (picture.url === "") return icon("picture");
  return h("img", { src: picture.url, alt: "", onerror: (event) => event.target.replaceWith(icon("picture")) });
}

export function download(what, name) {
  const url = what instanceof Blob ? URL.createObjectURL(what) : what;
  h("a", { href: url, download: name }).click();
  // The browser may not have started to read it.
  if (what instanceof Blob) setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
