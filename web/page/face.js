// Coefficients of a take.

/** Frames are appended as they come, and interpolated between two of them. */
export class Face {
  #values = new Float32Array(0);
  frames = 0;

  /**
   * @param {string[]} channels
   * @param {number} fps
   */
  constructor(channels, fps) {
    this.channels = channels;
    this.fps = fps;
  }

  /** Seconds that the frames last. */
  get seconds() {
    return this.frames / this.fps;
  }

  /** @param {Float32Array} coefficients (T * channels,) */
  append(coefficients) {
    const used = this.frames * this.channels.length;
    const needed = used + coefficients.length;
    if (needed > this.#values.length) {
      const roomier = new Float32Array(2 * needed);
      roomier.set(this.#values.subarray(0, used));
      this.#values = roomier;
    }
    this.#values.set(coefficients, used);
    this.frames = needed / this.channels.length;
  }

  /**
   * A coefficient of a frame.
   *
   * @param {number} frame
   * @param {number} channel its place among `channels`
   */
  value(frame, channel) {
    return this.#values[frame * this.channels.length + channel];
  }

  /** @param {number} frame */
  weights(frame) {
    return this.#values.subarray(frame * this.channels.length, (frame + 1) * this.channels.length);
  }

  /**
   * The coefficients at a time, linear between frames, held before the first and behind the last.
   *
   * @param {number} seconds
   * @returns {Float32Array} (channels,); zeros where there is no frame
   */
  at(seconds) {
    if (!this.frames) return new Float32Array(this.channels.length);
    const place = Math.min(Math.max(seconds * this.fps, 0), this.frames - 1);
    const before = Math.floor(place);
    const next = this.weights(Math.min(before + 1, this.frames - 1));
    return this.weights(before).map((value, c) => value + (next[c] - value) * (place - before));
  }
}
