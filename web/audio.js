// What is done to a whole recording before it is heard: diffusiontalker/audio/{waveform,level}.py, whose numbers
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
 * @throws {UserError} as `resampled`
 */
export function prepare(samples, rate) {
  return normalize(resampled(samples, rate));
}

/**
 * Check, and resample to 16 kHz.
 *
 * @param {Float32Array} samples mono, in [-1, 1]
 * @param {number} rate Hz
 * @returns {Float32Array}
 * @throws {UserError} no audio, NaN or infinite samples, too short, or an impossible rate
 */
export function resampled(samples, rate) {
  checkRate(rate, MIN_RATE, MAX_RATE);
  check(samples);
  if (samples.length / rate < MIN_SECONDS) {
    const seconds = (samples.length / rate).toFixed(3);
    throw new UserError(`audio: ${seconds} s; at least ${MIN_SECONDS} s are needed`);
  }
  const resampler = new Resampler(rate, SAMPLE_RATE);
  return joined(resampler.push(samples), resampler.close(samples.length));
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

/**
 * Whether nothing in samples at 16 kHz is louder than `FLOOR_DB`: nobody speaks.
 *
 * @param {Float32Array} samples
 */
export function isQuiet(samples) {
  const power = loudness(centred(samples));
  return 10 * Math.log10(power + 1e-12) <= FLOOR_DB + 1e-6;
}

/** Remove DC and scale so that the louder parts have an RMS of `LEVEL_DB`; what is below `FLOOR_DB` stays quiet. */
export function normalize(samples) {
  const out = centred(samples);
  const gain = 10 ** ((LEVEL_DB - Math.max(10 * Math.log10(loudness(out) + 1e-12), FLOOR_DB)) / 20);
  return out.map((sample) => Math.min(Math.max(sample * gain, -1), 1));
}

function centred(samples) {
  const middle = mean(samples);
  return samples.map((sample) => sample - middle);
}

/** Mean square of the louder parts. */
function loudness(samples) {
  const piece = SAMPLE_RATE / 50;
  const powers = Array.from({ length: Math.floor(samples.length / piece) }, (_, i) =>
    mean(samples.subarray(i * piece, (i + 1) * piece).map((sample) => sample ** 2)),
  );
  const least = powers.reduce((a, b) => Math.max(a, b)) * 10 ** (-SPAN_DB / 10);
  return mean(powers.filter((power) => power >= least));
}
