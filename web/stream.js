// diffusiontalker/runtime/stream.py: chunks of audio in, frames out, a stated look-ahead behind.
import { joined, mean } from "./arrays.js";
import { check, checkRate, SAMPLE_RATE } from "./audio.js";
import { UserError } from "./errors.js";
import { Level } from "./level.js";
import {
  BANDS,
  FPS,
  frameCount,
  lookAheadMs,
  OVERLAP,
  PER_FRAME,
  power,
  standardise,
  starts,
  STEM,
  WINDOW,
} from "./log_mel.js";
import { gaussian } from "./noise.js";
import { Resampler } from "./resampler.js";
import { AUTO, norm, Statistics, unit } from "./voice.js";

/** Identity and emotion are taken from the voice anew every so many frames: in the first EARLY ones,
 * and later. */
const EARLY = 60;
const UPDATES = [2, 10];
/** After so long, what the voice was weighs 1/e. */
const IDENTITY_SECONDS = 60;
const EMOTION_SECONDS = 8;
/** Share of the way to a new embedding that each update goes, early and later. */
const GLIDES = [1.0, 0.5];
const MIN_RATE = 8_000;
const MAX_RATE = 192_000;
const KINDS = ["identity", "emotion"];

/** Frames in which a face at rest comes to life when somebody begins to speak. */
const RISE = 4;

/** One speaker's stream: the same frames however the audio is cut. Made by `Student.stream`. */
export class Stream {
  /** Frames that came out so far. */
  frames = 0;
  closed = false;
  #student;
  #noise;
  #resampler;
  #statistics;
  #state;
  #level = new Level();
  /** Settles when all that was asked before is done. */
  #turn = Promise.resolve();
  #pushed = 0;
  /** Samples at 16 kHz. */
  #samples = 0;
  #audio = new Float32Array(0);
  #audioFirst = 0;
  /** Mel frames from the first that the next frame of the face sees; zeros before the stream. */
  #mel;
  #mels = 0;
  /** Mel frames that no frame of the face sees. */
  #skip;
  #given = {};
  #embeddings;
  /** Which of them were ever taken from the voice. */
  #followed = { identity: false, emotion: false };
  /** Frame of the face with which the first voice is heard. */
  #voice = Infinity;
  /** What they do to the layers; null: they have changed. */
  #modulation = null;

  /**
   * @param {import("./student.js").Student} student
   * @param {number} rate Hz
   * @param {import("./student.js").Options} options
   */
  constructor(student, rate, { identity = AUTO, emotion = AUTO, seed = 0 }) {
    if (student.lookAhead === null) {
      throw new UserError(
        `${student.folder}: this student takes whole recordings only; distil one with model.shared.look_ahead_ms`,
      );
    }
    checkRate(rate, MIN_RATE, MAX_RATE);
    this.#student = student;
    this.#noise = gaussian(seed, student.channels.length);
    this.#resampler = new Resampler(rate, SAMPLE_RATE);
    this.#statistics = new Statistics(kept(student.voiceWidth));
    this.#state = student.newState();
    const first = student.lookAhead - STEM + 1;
    this.#mel = new Float32Array(Math.max(-first, 0) * BANDS);
    this.#skip = Math.max(first, 0);
    this.pin({ identity, emotion });
    const { libraries } = student;
    this.#embeddings = {
      identity: this.#given.identity ?? libraries.identity.middle(),
      emotion: this.#given.emotion ?? libraries.emotion.middle(),
    };
  }

  /** Milliseconds of audio after its own time that a frame waits for. */
  get lookAheadMs() {
    return lookAheadMs(this.#student.lookAhead) + 1000 * this.#resampler.delay;
  }

  /** The library's entry nearest to what is used now; null: nobody has spoken yet. */
  get identity() {
    return this.#nearest("identity");
  }

  /** As `identity`. */
  get emotion() {
    return this.#nearest("emotion");
  }

  /**
   * From the next frame on, glide to another identity or emotion; "auto" follows the voice again,
   * and what is left out stays.
   *
   * @param {{identity?: import("./voice.js").Choice, emotion?: import("./voice.js").Choice}} choices
   * @throws {UserError} an unknown name, or a bad value; nothing changes then
   */
  pin(choices) {
    const given = { ...this.#given };
    for (const kind of KINDS) {
      if (choices[kind] !== undefined) given[kind] = this.#student.libraries[kind].resolve(choices[kind]);
    }
    this.#given = given;
  }

  /**
   * The next samples, in any number. It may be called before the last call has answered.
   *
   * @param {Float32Array} samples mono, in [-1, 1]
   * @returns {Promise<Float32Array>} the frames (T * 52,) that they complete; T may be 0
   * @throws {UserError} the stream is closed, or NaN; the stream is as it was before
   */
  async push(samples) {
    if (this.closed) throw new UserError("audio: the stream is closed; begin another");
    check(samples);
    const clipped = samples.map((sample) => Math.min(Math.max(sample, -1), 1));
    return this.#inTurn(() => {
      this.#pushed += clipped.length;
      this.#hear(this.#resampler.push(clipped));
      return this.#move(false);
    });
  }

  /**
   * @returns {Promise<Float32Array>} the last frames, silence behind the end; nothing more may come
   * @throws {UserError} it is closed already
   */
  async close() {
    if (this.closed) throw new UserError("audio: the stream is closed already");
    this.closed = true;
    return this.#inTurn(() => {
      this.#hear(this.#resampler.close(this.#pushed));
      if (this.#samples === 0) return new Float32Array(0);
      this.#audio = joined(this.#audio, new Float32Array(WINDOW).fill(this.#audio.at(-1)));
      this.#hear(new Float32Array(0), PER_FRAME * frameCount(this.#samples));
      return this.#move(true);
    });
  }

  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Samples at 16 kHz to mel frames: all that are complete, or up to number `until`. */
  #hear(samples, until) {
    if (this.#samples === 0 && samples.length) {
      this.#audio = new Float32Array(WINDOW / 2).fill(samples[0]); // as `pad`
    }
    this.#samples += samples.length;
    this.#audio = joined(this.#audio, samples);
    const known = this.#audioFirst + this.#audio.length;
    const hop = SAMPLE_RATE / (FPS * PER_FRAME);
    const last = until ?? Math.max(Math.floor((known - WINDOW) / hop) + 2, 0);
    const at = starts(this.#mels, Math.max(last - this.#mels, 0))
      .filter((start) => start + WINDOW <= known)
      .map((start) => start - this.#audioFirst);
    if (!at.length) return;
    const gains = Float32Array.from(at, (start, i) => {
      const gain = this.#level.next(variance(this.#audio.subarray(start, start + WINDOW)));
      if (this.#level.found && this.#voice === Infinity) {
        const unseen = this.#mels + i - this.#student.lookAhead - 1; // the first frame that sees that window
        this.#voice = Math.max(Math.floor(unseen / PER_FRAME) + 1, 0);
      }
      return gain;
    });
    const mel = standardise(power(this.#audio, at), gains);
    this.#mels += at.length;
    const drop = Math.min(this.#skip, at.length);
    this.#skip -= drop;
    this.#mel = joined(this.#mel, mel.subarray(drop * BANDS));
    const keep = Math.min(starts(this.#mels, 1)[0] - this.#audioFirst, this.#audio.length);
    this.#audio = this.#audio.slice(keep);
    this.#audioFirst += keep;
  }

  /** The frames that can be made of the mel frames that are there. */
  async #move(final) {
    const within = this.#samples ? frameCount(this.#samples) : 0;
    if (final) {
      const rows = PER_FRAME * (within - this.frames) + OVERLAP;
      const missing = Math.max(rows * BANDS - this.#mel.length, 0);
      this.#mel = joined(this.#mel, new Float32Array(missing));
    }
    const heard = Math.floor((this.#mel.length / BANDS - OVERLAP) / PER_FRAME);
    let ready = Math.min(heard, within - this.frames);
    let face = new Float32Array(0);
    while (ready > 0) {
      // Never beyond the next update, so that it comes at the same frame however audio came.
      const count = Math.min(ready, this.#untilUpdate());
      face = joined(face, await this.#make(count));
      ready -= count;
    }
    return face;
  }

  async #make(count) {
    const rows = this.#mel.slice(0, (PER_FRAME * count + OVERLAP) * BANDS);
    const { audio, voice } = await this.#student.listen(rows, this.#state);
    this.#mel = this.#mel.slice(PER_FRAME * count * BANDS);
    this.#modulation ??= await this.#student.modulate(this.#embeddings);
    const made = await this.#student.move(audio, this.#noise(count), this.#modulation, this.#state);
    this.#statistics.add(voice);
    const width = this.#student.channels.length;
    const face = made.map((value, i) => value * this.#presence(this.frames + Math.floor(i / width)));
    const due = count === this.#untilUpdate();
    this.frames += count;
    if (due) await this.#update();
    return face;
  }

  /** How much of the face is to be seen: nothing, as long as nobody has spoken. */
  #presence(frame) {
    return this.#voice === 0 ? 1 : Math.min(Math.max((frame - this.#voice + 1) / RISE, 0), 1);
  }

  #untilUpdate() {
    const every = UPDATES[Number(this.frames >= EARLY)];
    return every - (this.frames % every);
  }

  async #update() {
    this.#modulation = null;
    const given = this.#given;
    const spoken = this.frames > this.#voice;
    const heard = KINDS.every((kind) => given[kind]) ? {} : await this.#student.embed(this.#statistics);
    for (const kind of KINDS) {
      const library = this.#student.libraries[kind];
      if (!given[kind] && !spoken) continue;
      this.#followed[kind] ||= !given[kind];
      const goal = given[kind] ?? library.entries[library.nearest(heard[kind])];
      const between = this.#embeddings[kind].map((now, i) => now + GLIDES[Number(this.frames > EARLY)] * (goal[i] - now));
      // From one pole to the other, half way is nowhere.
      this.#embeddings[kind] = norm(between) < 0.1 ? goal : unit(between);
    }
  }

  #nearest(kind) {
    if (!this.#given[kind] && !this.#followed[kind]) return null;
    const library = this.#student.libraries[kind];
    return library.names[library.nearest(this.#embeddings[kind])];
  }
}

/** Shares (H,) that a frame's weight keeps: the identity head's half, then the emotion's. */
function kept(width) {
  return Float64Array.from({ length: width }, (_, h) =>
    Math.exp(-1 / (FPS * (h < width / 2 ? IDENTITY_SECONDS : EMOTION_SECONDS))),
  );
}

function variance(values) {
  const middle = mean(values);
  return mean(Float64Array.from(values, (value) => (value - middle) ** 2));
}
