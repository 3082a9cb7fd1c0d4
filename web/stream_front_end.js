// Samples of a live stream in, log-mel at the common level out: diffusiontalker/runtime/stream_batch/front_end.py,
// for one stream.
import { joined, variance } from "./arrays.js";
import { frameCount } from "./log_mel.js";
import { RunningLevel } from "./running_level.js";

export class StreamFrontEnd {
  /** Samples at 16 kHz so far. */
  samples = 0;
  #logMel;
  #riseFrames;
  #level;
  /** Mel frame with which the first frame of animation begins; negative: before the stream. */
  #first;
  #audio = new Float32Array(0);
  /** Number of the first sample in `#audio`, counted in padded samples. */
  #audioFirst = 0;
  /** Mel frames from the first that the next frame of animation sees. */
  #mel;
  /** Mel frames made. */
  #melFrames = 0;
  /** Mel frames to come that no frame of animation sees. */
  #skip;
  /** The first frame of animation whose log-mel holds speech. */
  #speechFrame = Infinity;

  /**
   * @param {import("./log_mel.js").LogMel} logMel
   * @param {number} lookAhead mel frames
   * @param {import("./artifact.js").StreamParameters} parameters
   */
  constructor(logMel, lookAhead, parameters) {
    this.#logMel = logMel;
    this.#riseFrames = parameters.rise_frames;
    this.#level = new RunningLevel(logMel.frontEnd, parameters);
    this.#first = lookAhead - logMel.stem + 1;
    this.#mel = new Float32Array(Math.max(-this.#first, 0) * logMel.bands);
    this.#skip = Math.max(this.#first, 0);
  }

  /** Frames of animation whose time lies within the audio. */
  get within() {
    return this.samples ? frameCount(this.samples) : 0;
  }

  /** Whether speech began before this frame of animation. */
  hasSpeech(frame) {
    return frame > this.#speechFrame;
  }

  /** @param {Float32Array} samples the next at 16 kHz */
  push(samples) {
    if (this.samples === 0 && samples.length) {
      this.#audio = new Float32Array(Math.floor(this.#logMel.window / 2)).fill(samples[0]); // as `LogMel.pad`
    }
    this.samples += samples.length;
    this.#audio = joined(this.#audio, samples);
    this.#transform(Infinity);
  }

  /**
   * There are no more samples: silence lies behind the end.
   *
   * @param {number} frames of animation made so far
   */
  close(frames) {
    if (!this.samples) return;
    const { window, perFrame, overlap, bands } = this.#logMel;
    this.#audio = joined(this.#audio, new Float32Array(window).fill(this.#audio.at(-1)));
    this.#transform(perFrame * this.within);
    const rows = perFrame * (this.within - frames) + overlap;
    this.#mel = joined(this.#mel, new Float32Array(Math.max(rows * bands - this.#mel.length, 0)));
  }

  /**
   * How many more frames of animation can be made.
   *
   * @param {number} frames made so far
   */
  ready(frames) {
    const { perFrame, overlap, bands } = this.#logMel;
    const seen = Math.floor((this.#mel.length / bands - overlap) / perFrame);
    return Math.max(Math.min(seen, this.within - frames), 0);
  }

  /**
   * The log-mel of the next frames of animation, which must be `ready`.
   *
   * @param {number} count
   * @returns {Float32Array} (2 * count + 3) * 80
   */
  take(count) {
    const { perFrame, overlap, bands } = this.#logMel;
    const rows = this.#mel.slice(0, (perFrame * count + overlap) * bands);
    this.#mel = this.#mel.slice(perFrame * count * bands);
    return rows;
  }

  /** Factor in 0-1 on the coefficients of a frame: 0 until speech begins, then a ramp of `rise_frames`. */
  presence(frame) {
    if (this.#speechFrame === 0) return 1;
    return Math.min(Math.max((frame - this.#speechFrame + 1) / this.#riseFrames, 0), 1);
  }

  /** Make the mel frames whose windows are complete, at most `last` in all. */
  #transform(last) {
    const { window, perFrame, stem, bands } = this.#logMel;
    const complete = this.#logMel.complete(this.#audioFirst + this.#audio.length);
    const count = Math.min(complete, last) - this.#melFrames;
    if (count <= 0) return;
    const at = this.#logMel.starts(this.#melFrames, count).map((start) => start - this.#audioFirst);
    const gains = Float32Array.from(at, (start) => this.#level.next(variance(this.#audio.subarray(start, start + window))));
    const { speechStart } = this.#level;
    if (speechStart !== null && this.#speechFrame === Infinity) {
      this.#speechFrame = Math.max(Math.floor((speechStart - this.#first - stem) / perFrame) + 1, 0);
    }
    const mel = this.#logMel.standardise(this.#logMel.power(this.#audio, at), gains);
    this.#melFrames += count;
    const drop = Math.min(this.#skip, count);
    this.#skip -= drop;
    this.#mel = joined(this.#mel, mel.subarray(drop * bands));
    const used = Math.min(this.#logMel.starts(this.#melFrames, 1)[0] - this.#audioFirst, this.#audio.length);
    this.#audio = this.#audio.slice(used);
    this.#audioFirst += used;
  }
}
