// Reduces large pictures in the browser, so that a photograph is neither slow to send nor too large for the server.

const MARGIN = 4;  // times the model's side, which is enough for the server's filter
const ENOUGH = 512;  // pixels per side, beyond which a smaller margin suffices

/**
 * Return a file's picture as {url, size, note}: a data URL, reduced to little more than the model needs, the size of the
 * whole picture, and "cropped" if it was. A picture that is hardly larger than the model's is sent unchanged, as is a file
 * that the browser cannot read, so that the server can report the error.
 * @throws {DOMException} if the file was changed or deleted since it was chosen
 */
export async function reducedPicture(file, [, height, width], crop) {
  const { content, bitmap, size } = await opened(file);
  if (bitmap === null) return unchanged(content, null);
  const margin = Math.min(MARGIN, Math.max(2, ENOUGH / Math.max(width, height)));
  const isSmall = size[0] <= margin * width && size[1] <= margin * height;
  if (isSmall && crop === null) return unchanged(content, size);
  const box = cropBox(size, [width, height], crop);
  const canvas = halved(bitmap, box, [margin * width, margin * height]);
  bitmap.close();
  const note = Math.max(size[0] - box.width, size[1] - box.height) >= 1 ? "cropped" : null;
  return { url: await dataUrl(await canvas.convertToBlob()), size, note };
}

/** Return the content of a file, in memory, and the size of its picture; null if the browser cannot read it. */
export async function openPicture(file) {
  const { content, bitmap, size } = await opened(file);
  bitmap?.close();
  return { content, size };
}

/** Return part of a file's picture as a PNG. */
export async function partOf(file, { left, top, width, height }) {
  // It is converted to sRGB and has no colour profile. For an unchanged file, the server keeps the profile.
  const { bitmap } = await opened(file, "default");
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(bitmap, -left, -top);
  bitmap.close();
  return canvas.convertToBlob();
}

/**
 * Read a file and its picture, which is null if the browser cannot decode it. Without conversion, values are those of the
 * file, whatever its colour profile, as on the server.
 */
async function opened(file, colorSpaceConversion = "none") {
  const content = new Blob([await file.arrayBuffer()], { type: file.type });  // read once, because the file may change
  const options = { imageOrientation: "from-image", colorSpaceConversion };
  const bitmap = await createImageBitmap(content, options).catch(() => null);
  return { content, bitmap, size: bitmap && [bitmap.width, bitmap.height] };
}

const unchanged = async (content, size) => ({ url: await dataUrl(content), size, note: null });

/**
 * Return the used part of a picture: of the wanted proportions, as large as fits, divided by the zoom of the crop. The
 * crop is at x and y, from 0 (left, top) to 1; without one, the part is in the centre.
 */
export function cropBox(size, wanted, crop) {
  const { zoom, x, y } = crop ?? { zoom: 1, x: 0.5, y: 0.5 };
  const scale = Math.min(size[0] / wanted[0], size[1] / wanted[1]) / zoom;
  const [width, height] = [wanted[0] * scale, wanted[1] * scale];
  return { left: x * (size[0] - width), top: y * (size[1] - height), width, height };
}

/**
 * Return a canvas of part of a picture, halved while it stays at least as large as required. Each halving averages four
 * pixels; the last step, of another ratio, is left to the server's filter.
 */
function halved(picture, { left, top, width, height }, [leastWidth, leastHeight]) {
  const isLarge = () => width >= 2 * leastWidth && height >= 2 * leastHeight;
  let canvas;
  do {
    const size = [width, height].map((side) => Math.max(1, Math.round(isLarge() ? side / 2 : side)));
    canvas = new OffscreenCanvas(...size);
    canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, ...size);
    [picture, left, top, width, height] = [canvas, 0, 0, ...size];
  } while (isLarge());
  return canvas;
}

const dataUrl = async (blob) => `data:${blob.type};base64,${new Uint8Array(await blob.arrayBuffer()).toBase64()}`;
