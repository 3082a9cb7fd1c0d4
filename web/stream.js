// A live stream of one speaker, chunks of audio in and frames out: diffusiontalker/runtime/stream.py.
import { joined } from "./arrays.js";
import { check, checkRate, SAMPLE_RATE } from "./audio.js";
import { Blinks } from "./blinks.js";
import { UserError } from "./errors.js";
import { coloured } from "./noise.js";
import { PostProcessor } from "./post_processing.js";
import { Resampler } from "./resampler.js";
import { AUTO } from "./selection.js";
import { StreamFrontEnd } from "./stream_front_end.js";
import { VoiceTracking } from "./voice_tracking.js";

const MIN_RATE = 8_000;
const MAX_RATE = 192_000;

/** One speaker's stream: the same frames however the audio is cut into chunks. Made by `Student.stream`. */
export class Stream {
  /** Frames that came out so far. */
  frames = 0;
  closed = false;
  #student;
  #noise;
  #blinks;
  #post;
  #resampler;
  #frontEnd;
  #voice;
  #state;
  /** Settles when all calls before have been answered. */
  #queue = Promise.resolve();
  /** Samples at the rate of the stream. */
  #pushed = 0;

  /**
   * @param {import("./student.js").Student} student
   * @param {number} rate Hz
   * @param {import("./student.js").Options} options
   */
  constructor(student, rate, { identity = AUTO, emotion = AUTO, seed = 0, smoothMs = 0, mirror = false }) {
    if (student.lookAhead === null) {
      throw new UserError(
        `${student.folder}: this student takes whole recordings only; distil one with model.shared.look_ahead_ms`,
      );
    }
    checkRate(rate, MIN_RATE, MAX_RATE);
    const { channels, graphs, logMel, motion, streamParameters } = student;
    this.#student = student;
    this.#noise = coloured(seed, motion.noise);
    this.#blinks = new Blinks(channels, motion.blinks, seed);
    this.#post = new PostProcessor(channels, smoothMs, mirror);
    this.#resampler = new Resampler(rate, SAMPLE_RATE);
    this.#frontEnd = new StreamFrontEnd(logMel, student.lookAhead, streamParameters);
    this.#voice = new VoiceTracking(graphs, streamParameters, { identity, emotion });
    this.#state = graphs.newState();
  }

  /** Milliseconds of audio after its own time that a frame waits for. */
  get lookAheadMs() {
    return this.#student.logMel.lookAheadMs(this.#student.lookAhead) + 1000 * this.#resampler.delay;
  }

  /** The library's entry nearest to the present identity; null: there has been no speech yet. */
  get identity() {
    return this.#voice.nearestName("identity");
  }

  /** As `identity`. */
  get emotion() {
    return this.#voice.nearestName("emotion");
  }

  /**
   * From the next frame on, glide to another identity or emotion; "auto" tracks the voice again, and what is
   * left out stays.
   *
   * @param {{identity?: import("./selection.js").VoiceSelection,
   *     emotion?: import("./selection.js").VoiceSelection}} selections
   * @throws {UserError} an unknown name, or a bad value; nothing changes then
   */
  pin(selections) {
    this.#voice.pin(selections);
  }

  /**
   * The next samples, in any number. It may be called before the last call has been answered.
   *
   * @param {Float32Array} samples mono, in [-1, 1]
   * @returns {Promise<Float32Array>} the frames (T * 52,) that they complete; T may be 0
   * @throws {UserError} the stream is closed, or NaN; the stream is as it was before
   */
  async push(samples) {
    if (this.closed) throw new UserError("audio: the stream is closed; begin another");
    check(samples);
    const clipped = samples.map((sample) => Math.min(Math.max(sample, -1), 1));
    return this.#enqueue(() => {
      this.#pushed += clipped.length;
      this.#frontEnd.push(this.#resampler.push(clipped));
      return this.#advance();
    });
  }

  /**
   * @returns {Promise<Float32Array>} the last frames, silence behind the end; nothing more may be pushed
   * @throws {UserError} it is closed already
   */
  async close() {
    if (this.closed) throw new UserError("audio: the stream is closed already");
    this.closed = true;
    return this.#enqueue(() => {
      this.#frontEnd.push(this.#resampler.close(this.#pushed));
      this.#frontEnd.close(this.frames);
      return this.#advance();
    });
  }

  #enqueue(work) {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }

  /** All frames that can be made. */
  async #advance() {
    let coefficients = new Float32Array(0);
    for (let ready = this.#frontEnd.ready(this.frames); ready > 0; ready = this.#frontEnd.ready(this.frames)) {
      // Never beyond the next update, which then comes at the same frame for all chunk sizes.
      const count = this.#voice.untilUpdate(this.frames, ready);
      coefficients = joined(coefficients, await this.#animate(count));
    }
    return this.#post.process(coefficients);
  }

  async #animate(count) {
    const { graphs, channels } = this.#student;
    const { audio, voice } = await graphs.encode(this.#frontEnd.take(count), this.#state);
    const made = await graphs.decode(audio, this.#noise(count), await this.#voice.modulation(), this.#state);
    this.#voice.accumulate(voice);
    const present = this.#blinks.process(made.coefficients, made.blink).map(
      (value, i) => value * this.#frontEnd.presence(this.frames + Math.floor(i / channels.length)),
    );
    this.frames += count;
    await this.#voice.update(this.frames, this.#frontEnd.hasSpeech(this.frames));
    return present;
  }
}
