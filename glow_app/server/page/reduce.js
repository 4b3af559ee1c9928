// Large pictures made small in the browser, so that a photograph is neither sent whole nor refused for its size.

const MARGIN = 4;  // times the model's side: enough for the server's own filter to work with
const ENOUGH = 512;  // pixels a side, beyond which less margin does

/**
 * Return a file's picture as base64, reduced to little more than the model needs.
 *
 * A picture that is hardly larger than the model's is sent as it is, byte by byte, and so is what the browser cannot
 * read: the server says what is wrong with it.
 * @param {Blob} file
 * @param {number[]} shape channels, height and width of the model
 * @param {?{zoom: number, x: number, y: number}} crop see cropBox; null for the centre
 * @returns {Promise<{base64: string, type: string, size: ?number[], note: ?string}>} size is that of the whole picture
 * @throws {DOMException} if the file was changed or deleted since it was chosen
 */
export async function reducedPicture(file, [, height, width], crop) {
  const content = new Blob([await file.arrayBuffer()], { type: file.type });  // read once: it may be gone the next time
  // Without colour profiles, which the server does not use either.
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(content, options).catch(() => null);
  if (bitmap === null) return { base64: await base64Of(content), type: file.type, size: null, note: null };
  const size = [bitmap.width, bitmap.height];
  const margin = Math.min(MARGIN, Math.max(2, ENOUGH / Math.max(width, height)));
  const isSmall = size[0] <= margin * width && size[1] <= margin * height;
  if (isSmall && crop === null) return { base64: await base64Of(content), type: file.type, size, note: null };
  const box = cropBox(size, [width, height], crop);
  const canvas = halved(bitmap, box, [margin * width, margin * height]);
  const png = await canvas.convertToBlob({ type: "image/png" });
  bitmap.close();
  const how = crop === null ? "reduced" : "cropped and reduced";
  const note = `${size.join("x")} ${how} to ${canvas.width}x${canvas.height} by the browser`;
  return { base64: await base64Of(png), type: "image/png", size, note };
}

/**
 * Return the part of a picture that is used: of the model's proportions, as large as fits, divided by the zoom.
 * @param {number[]} size width and height of the picture
 * @param {number[]} wanted width and height of the model
 * @param {?{zoom: number, x: number, y: number}} crop x and y from 0, left and top, to 1
 */
export function cropBox(size, wanted, crop) {
  const { zoom, x, y } = crop ?? { zoom: 1, x: 0.5, y: 0.5 };
  const scale = Math.min(size[0] / wanted[0], size[1] / wanted[1]) / zoom;
  const [width, height] = [wanted[0] * scale, wanted[1] * scale];
  return { left: x * (size[0] - width), top: y * (size[1] - height), width, height };
}

/**
 * Return a canvas of part of a picture, halved while it stays at least as large as asked for. Each half is an average of
 * four pixels; the last step, of any other ratio, is left to the server's filter.
 */
function halved(picture, { left, top, width, height }, [leastWidth, leastHeight]) {
  let canvas = null;
  do {
    const part = width >= 2 * leastWidth && height >= 2 * leastHeight ? 2 : 1;
    const size = [width, height].map((side) => Math.max(1, Math.round(side / part)));
    canvas = new OffscreenCanvas(...size);
    canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, ...size);
    [picture, left, top, width, height] = [canvas, 0, 0, ...size];
  } while (width >= 2 * leastWidth && height >= 2 * leastHeight);
  return canvas;
}

function base64Of(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
