// diffusiontalker/audio/level.py: the level of a voice while it speaks.
import { FLOOR_DB, LEVEL_DB, SPAN_DB } from "./audio.js";

/** Mel frames (30 s) after which what was heard weighs 1/e. */
const MEMORY = 1800;
/** Mel frames of speech until half of the correction is trusted. */
const DOUBT = 30;
/** The largest correction, up or down. */
const MAX_DB = 30;

/** Factors that bring a stream to the common level, by a histogram of loudness that forgets. */
export class Level {
  /** Whether there has been a voice. */
  found = false;
  #count = new Float64Array(1 - FLOOR_DB);
  #power = new Float64Array(1 - FLOOR_DB);
  #keep = Math.exp(-1 / MEMORY);

  /**
   * The factor for the next window.
   *
   * @param {number} power its mean square
   */
  next(power) {
    const [counts, powers] = [this.#count, this.#power];
    for (let place = 0; place < counts.length; place++) {
      counts[place] *= this.#keep;
      powers[place] *= this.#keep;
    }
    const decibels = 10 * Math.log10(power + 1e-12);
    if (decibels >= FLOOR_DB) {
      const place = Math.min(Math.floor(decibels - FLOOR_DB), -FLOOR_DB);
      counts[place] += 1;
      powers[place] += power;
    }
    // A click of a frame or two is not the voice.
    let loudest = counts.length - 1;
    for (let heard = counts[loudest]; heard <= 2; heard += counts[loudest]) {
      if (--loudest < 0) return 1;
    }
    this.found = true;
    const first = Math.max(loudest - SPAN_DB, 0);
    const sum = (values) => values.subarray(first).reduce((a, b) => a + b);
    const count = sum(counts);
    const level = 10 * Math.log10(sum(powers) / count);
    const change = Math.min(Math.max(LEVEL_DB - level, -MAX_DB), MAX_DB);
    return 10 ** (((count / (count + DOUBT)) * change) / 20);
  }
}
