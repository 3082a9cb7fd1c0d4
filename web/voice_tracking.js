// Identity and emotion of a live stream, tracked in the voice or pinned:
// diffusiontalker/runtime/stream_batch/voice_tracking.py, for one stream.
import { FPS } from "./audio.js";
import { KINDS, norm, unit } from "./selection.js";
import { VoiceStatistics } from "./voice_statistics.js";

/** Half way between opposite embeddings there is none: one shorter than this is skipped. */
const SHORTEST = 0.1;

export class VoiceTracking {
  #graphs;
  #parameters;
  #statistics;
  /** @type {Record<string, Float32Array | null>} embeddings that are pinned; null: tracked in the voice */
  #pinned = {};
  #embeddings = {};
  /** Which of them were ever taken from the voice. */
  #tracked = { identity: false, emotion: false };
  /** @type {Float32Array | null} null: the embeddings have changed */
  #modulation = null;

  /**
   * @param {import("./graphs.js").Graphs} graphs
   * @param {import("./artifact.js").StreamParameters} parameters
   * @param {{identity: import("./selection.js").VoiceSelection, emotion: import("./selection.js").VoiceSelection}}
   *     selections
   * @throws {UserError} an unknown name, or a bad value
   */
  constructor(graphs, parameters, selections) {
    this.#graphs = graphs;
    this.#parameters = parameters;
    // The first half of the voice features serves identity, the second emotion.
    const seconds = (h) => parameters.voice_seconds[Number(h >= graphs.voiceWidth / 2)];
    const keep = Float64Array.from({ length: graphs.voiceWidth }, (_, h) => Math.exp(-1 / (FPS * seconds(h))));
    this.#statistics = new VoiceStatistics(keep);
    this.pin(selections);
    for (const kind of KINDS) this.#embeddings[kind] = this.#pinned[kind] ?? graphs.libraries[kind].mean();
  }

  /**
   * Glide to another identity, emotion or both; "auto" tracks the voice again, and what is left out stays.
   *
   * @throws {UserError} an unknown name, or a bad value; nothing changes then
   */
  pin(selections) {
    const pinned = { ...this.#pinned };
    for (const kind of KINDS) {
      if (selections[kind] !== undefined) pinned[kind] = this.#graphs.libraries[kind].resolve(selections[kind]);
    }
    this.#pinned = pinned;
  }

  /** The library's entry nearest to the present embedding; null: neither pinned nor ever tracked. */
  nearestName(kind) {
    if (!this.#pinned[kind] && !this.#tracked[kind]) return null;
    const library = this.#graphs.libraries[kind];
    return library.names[library.nearest(this.#embeddings[kind])];
  }

  /** FiLM scale and shift for the present embeddings. */
  async modulation() {
    this.#modulation ??= await this.#graphs.modulate(this.#embeddings);
    return this.#modulation;
  }

  /** @param {Float32Array} voice features (T * H,) of the next frames */
  accumulate(voice) {
    this.#statistics.add(voice);
  }

  /**
   * Frames from `frames` on until the next update, but `most` at most.
   *
   * @param {number} frames
   * @param {number} most
   */
  untilUpdate(frames, most) {
    let count = 1;
    while (count < most && !this.#isDue(frames + count)) count += 1;
    return count;
  }

  /**
   * After so many frames: where an update is due, glide to what is pinned or, if there has been speech, to
   * the entries nearest to the voice.
   *
   * @param {number} frames
   * @param {boolean} speech
   */
  async update(frames, speech) {
    if (!this.#isDue(frames)) return;
    const tracked = KINDS.filter((kind) => !this.#pinned[kind] && speech);
    const voice = tracked.length ? await this.#graphs.personalise(this.#statistics) : {};
    const share = this.#parameters.glide[Number(frames > this.#parameters.early_frames)];
    for (const kind of KINDS) {
      const { entries } = this.#graphs.libraries[kind];
      if (tracked.includes(kind)) this.#tracked[kind] = true;
      else if (!this.#pinned[kind]) continue;
      const goal = this.#pinned[kind] ?? entries[this.#graphs.libraries[kind].nearest(voice[kind])];
      const between = this.#embeddings[kind].map((now, i) => now + share * (goal[i] - now));
      this.#embeddings[kind] = norm(between) < SHORTEST ? goal : unit(between);
    }
    this.#modulation = null;
  }

  #isDue(frames) {
    const { update_frames: every, early_frames: early } = this.#parameters;
    return frames % every[Number(frames >= early)] === 0;
  }
}
