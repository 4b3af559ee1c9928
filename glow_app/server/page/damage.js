// Damages samples as in the training of a restorer, so that there is something to restore.

import { h } from "./dom.js";
import { halved } from "./reduce.js";

const SIGMA = 25;  // of the noise, grey levels
const QUALITY = 20;  // of the JPEG, percent

/** By task: a function that returns the URL of a damaged picture, what was done, and its size if it changed. */
const DAMAGE = {
  Upscale: (canvas, { factor }) => {
    const { width, height } = canvas;
    const small = h("canvas", { width: Math.round(width / factor), height: Math.round(height / factor) });
    const box = { left: 0, top: 0, width, height };
    small.getContext("2d").drawImage(halved(canvas, box, [width / factor, height / factor]), 0, 0, small.width, small.height);
    return [small.toDataURL(), `reduced to ${small.width}x${small.height}`, [small.width, small.height]];
  },
  Denoise: (canvas, { channels }, seed) => {
    const context = canvas.getContext("2d");
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const noise = gaussian(seed);
    let error = 0;
    pixels.data.forEach((value, place) => {
      if (place % 4 === 3) return;
      if (place % 4 === 0 || channels === 3) error = SIGMA * noise();  // the mean of three channels would have less noise
      pixels.data[place] = value + error;
    });
    context.putImageData(pixels, 0, 0);
    return [canvas.toDataURL(), `with noise of ${SIGMA} grey levels`];
  },
  Deblock: (canvas) => [canvas.toDataURL("image/jpeg", QUALITY / 100), `as a JPEG of quality ${QUALITY}`],
  Clean: (...damaged) => DAMAGE.Denoise(...damaged),
  Enlarge: (...damaged) => DAMAGE.Upscale(...damaged),
  Colourise: (canvas) => [canvas.toDataURL(), "in grey"],
};

/** Return a damaged sample for a restorer of /v1/info: {url, size, note}. */
export async function damaged(picture, restorer) {
  const image = h("img", { src: picture.url });
  await image.decode();
  const canvas = h("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
  const whole = [canvas.width, canvas.height];
  const [url, how, size = whole] = DAMAGE[restorer.task]?.(canvas, restorer, picture.settings.seed) ?? [picture.url, null];
  return { url, size, note: how && `The sample, ${how}.` };
}

/** Return a generator of Gaussian noise, the same for the same seed. */
function gaussian(seed) {
  let state = seed + 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;  // Numerical Recipes
    return (state + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
