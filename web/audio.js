// What is done to a whole recording before it is heard: diffusiontalker/audio.py, whose numbers
// stand here anew; tests/integration/test_web.py compares the two.
import { joined, mean } from "./arrays.js";
import { UserError } from "./errors.js";
import { Resampler } from "./resampler.js";

/** Hz; what students hear. */
export const SAMPLE_RATE = 16_000;
/** RMS of the louder parts, in dB relative to full scale. */
export const LEVEL_DB = -23;
/** Below that is no voice, but the room. */
export const FLOOR_DB = -65;
/** What counts as speech lies within so much of the loudest. */
export const SPAN_DB = 25;
const MIN_SECONDS = 0.2;
const MIN_RATE = 1_000;
const MAX_RATE = 384_000;

/**
 * Check, resample to 16 kHz and bring to the common level.
 *
 * @param {Float32Array} samples mono, in [-1, 1]
 * @param {number} rate Hz
 * @returns {Float32Array}
 * @throws {UserError} no audio, NaN or infinite samples, too short, or an impossible rate
 */
export function prepare(samples, rate) {
  checkRate(rate, MIN_RATE, MAX_RATE);
  check(samples);
  if (samples.length / rate < MIN_SECONDS) {
    const seconds = (samples.length / rate).toFixed(3);
    throw new UserError(`audio: ${seconds} s; at least ${MIN_SECONDS} s are needed`);
  }
  const resampler = new Resampler(rate, SAMPLE_RATE);
  return normalize(joined(resampler.push(samples), resampler.close(samples.length)));
}

/**
 * @param {number} rate
 * @param {number} least
 * @param {number} most
 * @throws {UserError} it is not within these
 */
export function checkRate(rate, least, most) {
  if (!(Number.isInteger(rate) && rate >= least && rate <= most)) {
    throw new UserError(`audio: a sample rate of ${rate} Hz; expected ${least} to ${most}`);
  }
}

/**
 * @param {Float32Array} samples
 * @throws {UserError} not mono floats, or NaN or infinite ones among them
 */
export function check(samples) {
  if (!(samples instanceof Float32Array)) {
    throw new UserError("audio: give mono samples as a Float32Array");
  }
  if (!samples.every(Number.isFinite)) throw new UserError("audio: NaN or infinite samples");
}

/** Remove DC and scale so that the louder parts have an RMS of `LEVEL_DB`; what is below `FLOOR_DB` stays quiet. */
function normalize(samples) {
  const middle = mean(samples);
  const out = samples.map((sample) => sample - middle);
  const piece = SAMPLE_RATE / 50;
  const powers = Array.from({ length: Math.floor(out.length / piece) }, (_, i) =>
    mean(out.subarray(i * piece, (i + 1) * piece).map((sample) => sample ** 2)),
  );
  const least = powers.reduce((a, b) => Math.max(a, b)) * 10 ** (-SPAN_DB / 10);
  const level = mean(powers.filter((power) => power >= least));
  const gain = 10 ** ((LEVEL_DB - Math.max(10 * Math.log10(level + 1e-12), FLOOR_DB)) / 20);
  return out.map((sample) => Math.min(Math.max(sample * gain, -1), 1));
}
