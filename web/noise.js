import { UserError } from "./errors.js";

/**
 * Standard normal noise, frame after frame: the same however it is cut. Numbers come from
 * Doty-Humphrey's sfc32, and by Box and Muller's polar form. They are others than Python's of the
 * same seed.
 *
 * @param {number} seed 0 or more, whole
 * @param {number} width numbers in a frame
 * @returns {(frames: number) => Float32Array}
 * @throws {UserError} a bad seed
 */
export function gaussian(seed, width) {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new UserError(`seed ${seed}: must be a whole number, 0 or more`);
  }
  const uniform = sfc32(seed);
  let spare = null;
  const next = () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    for (;;) {
      const [x, y] = [2 * uniform() - 1, 2 * uniform() - 1];
      const square = x * x + y * y;
      if (square > 0 && square < 1) {
        const scale = Math.sqrt((-2 * Math.log(square)) / square);
        spare = scale * y;
        return scale * x;
      }
    }
  };
  return (frames) => Float32Array.from({ length: frames * width }, next);
}

/** Uniform numbers in [0, 1) in steps of 2^-32. */
function sfc32(seed) {
  let [a, b, c, counter] = [0, seed | 0, Math.floor(seed / 2 ** 32), 1];
  const next = () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 12; i++) next(); // until every bit of the seed has reached every number
  return next;
}
