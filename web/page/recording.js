// A recording: a file, or what was recorded by the microphone.
import { variance } from "../arrays.js";
import { SAMPLE_RATE } from "../audio.js";
import { UserError } from "../errors.js";

const MAX_BYTES = 2 ** 28;
/** Channels cancel each other out if their average is so many dB below the louder one. */
const CANCELLED_DB = 20;
const CANCELLED = "left and right cancel each other out; the louder channel alone is used";

/** Animated, played and sent to a server. */
export class Recording {
  /** @type {Promise<Float32Array> | null} */
  #samples = null;
  /** @type {string[]} what is unusual about it, once `samples` has decoded it */
  notes = [];

  /**
   * @param {Blob} blob an audio file
   * @param {string} name
   * @throws {UserError} it is too large
   */
  constructor(blob, name) {
    if (blob.size > MAX_BYTES) throw new UserError(`${name}: larger than 256 MB; cut it into parts`);
    this.blob = blob;
    this.name = name;
  }

  /** The name without its suffix. */
  get stem() {
    return this.name.replace(/\.[^.]*$/, "");
  }

  /**
   * @returns {Promise<Float32Array>} mono at 16 kHz
   * @throws {UserError} the browser cannot decode it
   */
  samples() {
    this.#samples ??= this.#decoded();
    return this.#samples;
  }

  async #decoded() {
    const content = await this.blob.arrayBuffer();
    let sound;
    try {
      // It decodes to the rate of the context, by the browser's own resampler.
      sound = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(content);
    } catch {
      throw new UserError(`${this.name}: not a recording that this browser reads (wav, flac, ogg or mp3)`);
    }
    const channels = Array.from({ length: sound.numberOfChannels }, (_, channel) => sound.getChannelData(channel));
    const { mono, lone } = mixed(channels);
    if (lone) this.notes.push(CANCELLED);
    return lone ?? mono;
  }
}

/** Channels averaged; and the louder one alone, where they cancel each other out. */
function mixed(channels) {
  if (channels.length === 1) return { mono: channels[0], lone: null };
  const mono = new Float32Array(channels[0].length);
  for (const channel of channels) channel.forEach((sample, i) => { mono[i] += sample / channels.length; });
  const loudest = channels.reduce((a, b) => (variance(b) > variance(a) ? b : a));
  return { mono, lone: variance(mono) < variance(loudest) * 10 ** (-CANCELLED_DB / 10) ? loudest : null };
}

/**
 * A 16-bit WAV file.
 *
 * @param {Float32Array[]} pieces mono samples in [-1, 1]
 * @param {number} rate Hz
 * @returns {Blob}
 */
export function wav(pieces, rate) {
  const size = 2 * pieces.reduce((sum, piece) => sum + piece.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, value) => [...value].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // one channel
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, size, true);
  return new Blob([header, ...pieces.map(pcm16)], { type: "audio/wav" });
}

/** @param {Float32Array} samples in [-1, 1]; louder is clipped */
export function pcm16(samples) {
  return Int16Array.from(samples, (sample) => Math.round(32767 * Math.min(Math.max(sample, -1), 1)));
}
