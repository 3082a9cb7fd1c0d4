// The noise that diffusion starts from: diffusiontalker/runtime/noise.py. Words 26 t to 26 t + 25 of
// Philox-4x64-10 are frame t's, and each word gives two normal numbers by Box and Muller's transform, which are
// then filtered over time, but for gaze, which jumps: one seed gives one animation, here and in Python.
import { UserError } from "./errors.js";

/** The channels of gaze among the 52, eyeLookDownLeft to eyeLookUpRight, and the one before them whose white noise
 * decides when they jump, eyeBlinkLeft. */
export const GAZE = { first: 10, end: 18, jump: 8 };
const ROUNDS = 10;
// Multipliers, and increments of the key per round, as [high, low] halves of 64 bits.
const MULTIPLIERS = [[0xd2e7470e, 0xe14c6c93], [0xca5a8263, 0x95121157]];
const WEYL = [[0x9e3779b9, 0x7f4a7c15], [0xbb67ae85, 0x84caa73b]];

/**
 * @typedef {object} NoiseParameters
 * @property {number[]} lag_1 correlation of each channel over one frame
 * @property {number[]} lag_2 over two frames
 * @property {number | null} gaze_threshold white noise beyond which the gaze jumps; null: it is filtered like others
 */

/**
 * Noise, standard normal in every frame: the same however many frames are drawn at a time. Each channel is a
 * stationary AR(2) process over time, x_t = a_1 x_(t-1) + a_2 x_(t-2) + g e_t.
 *
 * @param {number} seed 0 or more, whole
 * @param {NoiseParameters} parameters
 * @returns {(frames: number) => Float32Array}
 * @throws {UserError} a bad seed
 */
export function coloured(seed, { lag_1: lag1, lag_2: lag2, gaze_threshold: threshold }) {
  const [width, white] = [lag1.length, gaussian(seed, lag1.length)];
  const a1 = lag1.map((one, c) => (one * (1 - lag2[c])) / (1 - one ** 2));
  const a2 = lag1.map((one, c) => (lag2[c] - one ** 2) / (1 - one ** 2));
  // 1 - a_1 lag_1 - a_2 lag_2, which rounding could make negative at the edge of stationarity.
  const gain = lag1.map((one, c) =>
    Math.sqrt(((1 - lag2[c]) * Math.max(1 + lag2[c] - 2 * one ** 2, 0)) / (1 - one ** 2)),
  );
  const first = lag1.map((one) => Math.sqrt(1 - one ** 2));
  let [last, before, held] = [null, null, null];
  return (frames) => {
    const out = white(frames);
    for (let at = 0; at < out.length; at += width) {
      const e = out.subarray(at, at + width);
      const x = Float64Array.from(e, (value, c) => {
        if (last === null) return value;
        if (before === null) return lag1[c] * last[c] + first[c] * value;
        return a1[c] * last[c] + a2[c] * before[c] + gain[c] * value;
      });
      [last, before] = [x, last];
      if (threshold !== null) {
        if (held === null || Math.abs(e[GAZE.jump]) > threshold) held = e.slice(GAZE.first, GAZE.end);
        x.set(held, GAZE.first);
      }
      e.set(x);
    }
    return out;
  };
}

/**
 * White noise, standard normal, frame after frame.
 *
 * @param {number} seed 0 or more, whole
 * @param {number} width numbers in a frame, even
 * @returns {(frames: number) => Float32Array}
 * @throws {UserError} a bad seed
 */
export function gaussian(seed, width) {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new UserError(`seed ${seed}: must be a whole number, 0 or more`);
  }
  const words = philox(seed);
  return (frames) => {
    const out = new Float32Array(frames * width);
    for (let at = 0; at < out.length; at += 2) {
      const [high, low] = words();
      const radius = Math.sqrt(-2 * Math.log((high + 1) * 2 ** -32));
      const angle = low * (2 * Math.PI * 2 ** -32);
      out[at] = radius * Math.cos(angle);
      out[at + 1] = radius * Math.sin(angle);
    }
    return out;
  };
}

/**
 * The words of Philox-4x64-10 (Salmon et al. 2011) as [high, low] halves; like numpy's, the first
 * block is that of counter 1.
 *
 * @param {number} seed the key
 * @param {number} stream another one gives other words for the same seed
 * @returns {() => [number, number]}
 */
export function philox(seed, stream = 0) {
  let counter = 0;
  let block = [];
  return () => {
    if (!block.length) {
      counter += 1;
      block = encrypted(split(counter), [split(seed), split(stream)]);
    }
    return block.shift();
  };
}

function encrypted(counter, key) {
  let [a, b, c, d] = [counter, [0, 0], [0, 0], [0, 0]];
  let keys = key;
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = product(MULTIPLIERS[0], a);
    const [high1, low1] = product(MULTIPLIERS[1], c);
    [a, b, c, d] = [xor(high1, b, keys[0]), low1, xor(high0, d, keys[1]), low0];
    keys = keys.map((half, k) => sum(half, WEYL[k]));
  }
  return [a, b, c, d];
}

/** A whole number below 2^53 as halves of 64 bits. */
const split = (number) => [Math.floor(number / 2 ** 32), number >>> 0];

const xor = (x, y, z) => [(x[0] ^ y[0] ^ z[0]) >>> 0, (x[1] ^ y[1] ^ z[1]) >>> 0];

function sum(x, y) {
  const low = x[1] + y[1];
  return [(x[0] + y[0] + (low > 0xffffffff ? 1 : 0)) >>> 0, low >>> 0];
}

/** The 128 bits of a product of two numbers of 64 bits, as its high and its low 64. */
function product(x, y) {
  const [highest, high] = [wide(x[0], y[0]), wide(x[1], y[1])];
  const [left, right] = [wide(x[0], y[1]), wide(x[1], y[0])];
  const middle = high[0] + left[1] + right[1]; // below 2^34: exact
  const carry = Math.floor(middle / 2 ** 32);
  return [sum(highest, sum([0, left[0]], sum([0, right[0]], [0, carry]))), [middle >>> 0, high[1]]];
}

/** The 64 bits of a product of two numbers of 32, as halves. */
function wide(x, y) {
  const [xHigh, xLow, yHigh, yLow] = [x >>> 16, x & 0xffff, y >>> 16, y & 0xffff];
  const low = xLow * yLow;
  const middle = xHigh * yLow + Math.floor(low / 2 ** 16); // below 2^49: exact
  const rest = xLow * yHigh + (middle % 2 ** 16);
  return [
    (xHigh * yHigh + Math.floor(middle / 2 ** 16) + Math.floor(rest / 2 ** 16)) >>> 0,
    ((rest % 2 ** 16) * 2 ** 16 + (low % 2 ** 16)) >>> 0,
  ];
}
