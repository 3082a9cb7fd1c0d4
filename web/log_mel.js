// diffusiontalker/audio/log_mel.py, whose numbers stand here anew; tests/integration/test_web.py
// compares the two.
import { mean } from "./arrays.js";
import { SAMPLE_RATE } from "./audio.js";
import { Spectrum } from "./fft.js";

/** Frames of animation in a second. */
export const FPS = 30;
/** Mel frames per frame of animation. */
export const PER_FRAME = 2;
export const BANDS = 80;
/** Samples: 40 ms. */
export const WINDOW = 640;
const POINTS = 768;
/** Power added before the logarithm. */
const FLOOR = 1e-4;
/** Bring speech at our level near zero mean and unit variance. */
const MEAN = -3.5;
const SCALE = 3;
/** Mel frames that a student's first convolution takes for one frame of animation. */
export const STEM = 5;
/** Mel frames that two neighbouring frames of animation share in it: T of them see 2T + 3. */
export const OVERLAP = STEM - PER_FRAME;

/**
 * Half a window before the samples and a whole one behind, in which their ends are held.
 *
 * @param {Float32Array} samples at least one
 */
export function pad(samples) {
  const out = new Float32Array(WINDOW / 2 + samples.length + WINDOW);
  out.fill(samples[0], 0, WINDOW / 2);
  out.set(samples, WINDOW / 2);
  out.fill(samples.at(-1), WINDOW / 2 + samples.length);
  return out;
}

/**
 * First samples of the windows of `count` mel frames from `first` on, where half a window stands
 * before the recording.
 *
 * @param {number} first
 * @param {number} count
 * @returns {number[]}
 */
export function starts(first, count) {
  const hop = SAMPLE_RATE / (FPS * PER_FRAME);
  return Array.from({ length: count }, (_, i) => Math.round((first + i) * hop));
}

const spectrum = new Spectrum(POINTS);
const hann = Float64Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW));
const filters = melFilters();

/**
 * Power in each mel band of the windows that begin `at` samples; each loses its mean first.
 *
 * @param {Float32Array} samples
 * @param {number[]} at
 * @returns {Float32Array} (at.length * 80,)
 */
export function power(samples, at) {
  const out = new Float32Array(at.length * BANDS);
  const piece = new Float64Array(POINTS);
  const energy = new Float64Array(POINTS / 2 + 1);
  at.forEach((start, row) => {
    const window = samples.subarray(start, start + WINDOW);
    const middle = mean(window);
    for (let n = 0; n < WINDOW; n++) piece[n] = (window[n] - middle) * hann[n];
    spectrum.power(piece, energy);
    filters.forEach(({ first, weights }, band) => {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * energy[first + i];
      out[row * BANDS + band] = sum;
    });
  });
  return out;
}

/**
 * Logarithm of mel powers, as if the samples of each row had been multiplied by its gain.
 *
 * @param {Float32Array} powers (n * 80,)
 * @param {Float32Array} [gains] (n,)
 * @returns {Float32Array}
 */
export function standardise(powers, gains) {
  return powers.map((value, i) => {
    const gain = gains ? gains[Math.floor(i / BANDS)] : 1;
    return (Math.log(value * gain ** 2 + FLOOR) - MEAN) / SCALE;
  });
}

/**
 * Milliseconds of audio after its own time that a frame depends on.
 *
 * @param {number} melFrames the last that it sees, counted from its own
 */
export function lookAheadMs(melFrames) {
  return 1000 * (melFrames / (FPS * PER_FRAME) + WINDOW / 2 / SAMPLE_RATE);
}

/**
 * Frames of animation for so many samples: all whose time lies within the audio.
 *
 * @param {number} samples
 */
export function frameCount(samples) {
  return Math.max(Math.ceil((samples * FPS) / SAMPLE_RATE - 1e-6), 1);
}

/** Triangles from 40 Hz to 8 kHz on the HTK mel scale, without their zeros. */
function melFilters() {
  const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
  const [low, high] = [mel(40), mel(8000)];
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => {
    const mels = low + ((high - low) * i) / (BANDS + 1);
    return 700 * (10 ** (mels / 2595) - 1);
  });
  return Array.from({ length: BANDS }, (_, band) => {
    const [rise, top, fall] = edges.slice(band, band + 3);
    const first = Math.ceil((rise * POINTS) / SAMPLE_RATE);
    const last = Math.min(Math.floor((fall * POINTS) / SAMPLE_RATE), POINTS / 2);
    const weights = Float64Array.from({ length: last - first + 1 }, (_, i) => {
      const hz = ((first + i) * SAMPLE_RATE) / POINTS;
      return Math.max(Math.min((hz - rise) / (top - rise), (fall - hz) / (fall - top)), 0);
    });
    return { first, weights };
  });
}
