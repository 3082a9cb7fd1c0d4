// A recording is checked, resampled and brought to the common level: diffusiontalker/audio/{waveform,level}.py.
// tests/integration/test_web.py compares the two.
import { joined, mean } from "./arrays.js";
import { UserError } from "./errors.js";
import { Resampler } from "./resampler.js";

/** Hz of what students take. */
export const SAMPLE_RATE = 16_000;
/** Frames of animation per second. */
export const FPS = 30;
const MIN_SECONDS = 0.2;
const MIN_RATE = 1_000;
const MAX_RATE = 384_000;

/** @typedef {import("./artifact.js").FrontEnd} FrontEnd */

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
 * Whether nothing in samples at 16 kHz is louder than `floor_db`: there is no speech.
 *
 * @param {Float32Array} samples
 * @param {FrontEnd} frontEnd
 */
export function isQuiet(samples, frontEnd) {
  const power = loudness(centred(samples), frontEnd);
  return 10 * Math.log10(power + 1e-12) <= frontEnd.floor_db + 1e-6;
}

/**
 * Remove DC and scale so that the louder parts have an RMS of `level_db`. Below `floor_db` the gain no longer
 * grows: background noise stays quiet.
 *
 * @param {Float32Array} samples at 16 kHz
 * @param {FrontEnd} frontEnd
 */
export function normalize(samples, frontEnd) {
  const out = centred(samples);
  const decibels = Math.max(10 * Math.log10(loudness(out, frontEnd) + 1e-12), frontEnd.floor_db);
  const gain = 10 ** ((frontEnd.level_db - decibels) / 20);
  return out.map((sample) => Math.min(Math.max(sample * gain, -1), 1));
}

function centred(samples) {
  const middle = mean(samples);
  return samples.map((sample) => sample - middle);
}

/** Mean square of the 20 ms pieces within `span_db` of the loudest. */
function loudness(samples, { span_db: span }) {
  const piece = SAMPLE_RATE / 50;
  const powers = Array.from({ length: Math.floor(samples.length / piece) }, (_, i) =>
    mean(samples.subarray(i * piece, (i + 1) * piece).map((sample) => sample ** 2)),
  );
  const least = powers.reduce((a, b) => Math.max(a, b)) * 10 ** (-span / 10);
  return mean(powers.filter((power) => power >= least));
}
