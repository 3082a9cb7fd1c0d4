// The log-mel front end: diffusiontalker/audio/log_mel.py. tests/integration/test_web.py compares the two.
import { mean } from "./arrays.js";
import { FPS, SAMPLE_RATE } from "./audio.js";
import { Spectrum } from "./fft.js";

/** Hz, edges of the mel filters. */
const LOWEST = 40;
const HIGHEST = 8000;

/** @param {number} samples at 16 kHz */
export function frameCount(samples) {
  return Math.max(Math.ceil((samples * FPS) / SAMPLE_RATE), 1); // every frame whose time lies within the audio
}

/** Log-mel with the parameters of an artifact. */
export class LogMel {
  #spectrum;
  #hann;
  #filters;

  /** @param {import("./artifact.js").FrontEnd} frontEnd */
  constructor(frontEnd) {
    const { window, fft, bands, mel_per_frame: perFrame, stem } = frontEnd;
    this.frontEnd = frontEnd;
    this.window = window;
    this.bands = bands;
    this.perFrame = perFrame;
    this.stem = stem;
    /** Mel frames that two neighbouring frames of animation share in the first convolution: T frames take
     * `perFrame * T + overlap`. */
    this.overlap = stem - perFrame;
    /** Mel frames per second. */
    this.rate = FPS * perFrame;
    this.#spectrum = new Spectrum(fft);
    this.#hann = Float64Array.from({ length: window }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / window));
    this.#filters = melFilters(fft, bands);
  }

  /**
   * Half a window of padding before the samples and a whole one behind, by their edge values.
   *
   * @param {Float32Array} samples at least one
   */
  pad(samples) {
    const before = Math.floor(this.window / 2);
    const out = new Float32Array(before + samples.length + this.window);
    out.fill(samples[0], 0, before);
    out.set(samples, before);
    out.fill(samples.at(-1), before + samples.length);
    return out;
  }

  /**
   * First samples of the windows of `count` mel frames from `first` on, in padded samples.
   *
   * @param {number} first
   * @param {number} count
   * @returns {number[]}
   */
  starts(first, count) {
    const half = Math.floor(this.rate / 2);
    return Array.from({ length: count }, (_, i) => Math.floor(((first + i) * SAMPLE_RATE + half) / this.rate));
  }

  /**
   * How many mel frames have their windows within so many padded samples.
   *
   * @param {number} samples
   */
  complete(samples) {
    const last = this.rate * (samples - this.window + 1) - Math.floor(this.rate / 2) - 1;
    return Math.max(Math.floor(last / SAMPLE_RATE) + 1, 0);
  }

  /**
   * Power in each mel band of the windows that begin `at` samples, each without its mean.
   *
   * @param {Float32Array} samples
   * @param {number[]} at
   * @returns {Float32Array} (at.length * bands,)
   */
  power(samples, at) {
    const { window, bands } = this;
    const out = new Float32Array(at.length * bands);
    const piece = new Float64Array(this.#spectrum.points);
    const energy = new Float64Array(this.#spectrum.points / 2 + 1);
    at.forEach((start, row) => {
      const values = samples.subarray(start, start + window);
      const middle = mean(values);
      for (let n = 0; n < window; n++) piece[n] = (values[n] - middle) * this.#hann[n];
      this.#spectrum.power(piece, energy);
      this.#filters.forEach(({ first, weights }, band) => {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * energy[first + i];
        out[row * bands + band] = sum;
      });
    });
    return out;
  }

  /**
   * Logarithm of mel powers, near zero mean and unit variance, as if the samples of each row had been
   * multiplied by its gain.
   *
   * @param {Float32Array} powers (n * bands,)
   * @param {Float32Array} [gains] (n,)
   * @returns {Float32Array}
   */
  standardise(powers, gains) {
    const { floor, mean: middle, scale } = this.frontEnd;
    return powers.map((value, i) => {
      const gain = gains ? gains[Math.floor(i / this.bands)] : 1;
      return (Math.log(value * gain ** 2 + floor) - middle) / scale;
    });
  }

  /**
   * Milliseconds of audio after its own time that a frame of this look-ahead depends on.
   *
   * @param {number} melFrames
   */
  lookAheadMs(melFrames) {
    return 1000 * (melFrames / this.rate + this.window / 2 / SAMPLE_RATE);
  }
}

/** Triangles on the HTK mel scale, without their zeros. */
function melFilters(fft, bands) {
  const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
  const [low, high] = [mel(LOWEST), mel(HIGHEST)];
  const edges = Array.from({ length: bands + 2 }, (_, i) => {
    const mels = low + ((high - low) * i) / (bands + 1);
    return 700 * (10 ** (mels / 2595) - 1);
  });
  return Array.from({ length: bands }, (_, band) => {
    const [rise, top, fall] = edges.slice(band, band + 3);
    const first = Math.ceil((rise * fft) / SAMPLE_RATE);
    const last = Math.min(Math.floor((fall * fft) / SAMPLE_RATE), fft / 2);
    const weights = Float64Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => {
      const hz = ((first + i) * SAMPLE_RATE) / fft;
      return Math.max(Math.min((hz - rise) / (top - rise), (fall - hz) / (fall - top)), 0);
    });
    return { first, weights };
  });
}
