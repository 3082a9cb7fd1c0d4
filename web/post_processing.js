// Smoothing that keeps lip closures, and mirroring: diffusiontalker/runtime/post_processing.py.
import { FPS } from "./audio.js";
import { UserError } from "./errors.js";

/** Opening of the mouth (jawOpen less mouthClose) below which smoothing of the lips is faded out. */
const CLOSED = 0.12;
const MAX_MS = 1000;

/** Applied to frames in order: each depends on those before it alone. */
export class PostProcessor {
  #keep;
  #order;
  #jawOpen;
  #mouthClose;
  #lips;
  /** @type {Float32Array | null} the last smoothed frame */
  #last = null;

  /**
   * @param {string[]} channels
   * @param {number} smoothMs time constant of a moving average; 0: no smoothing
   * @param {boolean} mirror swap left and right
   * @throws {UserError} a time constant that is negative, longer than a second or no number, or no boolean
   */
  constructor(channels, smoothMs = 0, mirror = false) {
    if (!(typeof smoothMs === "number" && smoothMs >= 0 && smoothMs <= MAX_MS)) {
      throw new UserError(`smoothMs ${smoothMs}: must be from 0 to ${MAX_MS}`);
    }
    if (typeof mirror !== "boolean") throw new UserError(`mirror ${mirror}: must be true or false`);
    this.#keep = smoothMs ? Math.exp(-1000 / FPS / smoothMs) : 0;
    this.#order = mirror ? channels.map((name) => channels.indexOf(mirrored(name))) : null;
    this.#jawOpen = channels.indexOf("jawOpen");
    this.#mouthClose = channels.indexOf("mouthClose");
    this.#lips = channels.map((name) => /^(jaw|mouth|tongue)/.test(name));
  }

  /**
   * @param {Float32Array} coefficients (T * channels,), which follow those of the call before
   * @returns {Float32Array} (T * channels,)
   */
  process(coefficients) {
    const width = this.#lips.length;
    const out = new Float32Array(coefficients.length);
    for (let at = 0; at < out.length; at += width) {
      const raw = coefficients.subarray(at, at + width);
      const frame = this.#keep ? this.#smooth(raw) : raw;
      for (let c = 0; c < width; c++) out[at + c] = frame[this.#order ? this.#order[c] : c];
    }
    return out;
  }

  #smooth(raw) {
    const last = this.#last ?? raw;
    const smooth = raw.map((value, c) => value + this.#keep * (last[c] - value));
    this.#last = smooth;
    // An average never quite closes the lips, which viewers notice in "m", "b" and "p".
    const opening = raw[this.#jawOpen] - raw[this.#mouthClose];
    const closed = Math.min(Math.max(1 - opening / CLOSED, 0), 1);
    return smooth.map((value, c) => (this.#lips[c] ? value + closed * (raw[c] - value) : value));
  }
}

/** The channel of the other side; of the middle, itself. */
function mirrored(name) {
  return name.replace(/Left|Right/, (side) => (side === "Left" ? "Right" : "Left"));
}
