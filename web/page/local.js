// The back end in this page, on onnxruntime-web: no sound leaves it.
import * as ort from "onnxruntime-web";

import { FPS, SAMPLE_RATE } from "../audio.js";
import { UserError } from "../errors.js";
import { AUTO } from "../selection.js";
import { Student } from "../student.js";

ort.env.wasm.numThreads = 1; // more require a cross-origin isolated page

/** Seconds of speech that make an identity, as on a server. */
const SHORTEST = 3;
const LONGEST = 60;
/** Of its name, as on a server. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** @implements {import("./backend.js").Backend} */
export class Local {
  about = "The student runs in this page; no sound leaves it.";
  keeping = "Saved until this page is closed or another student is loaded.";
  formats = [];
  /** @type {Student} */
  #student;
  /** @type {Map<string, Float32Array>} identity embeddings of saved voices */
  #saved = new Map();

  /** @param {string} folder address of an artifact */
  static async open(folder) {
    const local = new Local();
    local.#student = await Student.load(folder, { ort });
    local.models = [{ name: folder, steps: null, streams: local.#student.lookAhead !== null }];
    return local;
  }

  async names() {
    return { identity: this.#student.identities, saved: [...this.#saved.keys()], emotion: this.#student.emotions };
  }

  async animate(recording, settings) {
    const samples = await recording.samples();
    return { ...(await this.#student.animate(samples, SAMPLE_RATE, this.#options(settings))), fps: FPS };
  }

  async stream(rate, settings, { frames, broken }) {
    const stream = this.#student.stream(rate, this.#options(settings));
    const pass = (coefficients) => frames(coefficients, stream.identity, stream.emotion);
    return {
      channels: this.#student.channels,
      fps: FPS,
      lookAheadMs: stream.lookAheadMs,
      push: (samples) => { stream.push(samples).then(pass, broken); },
      pin: (selections) => stream.pin(this.#options(selections)),
      close: async () => pass(await stream.close()),
    };
  }

  async saveIdentity(recording, name) {
    if (!NAME.test(name)) {
      throw new UserError("name: give 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first");
    }
    if (name === AUTO || this.#student.identities.includes(name)) {
      throw new UserError(`name '${name}' is of the library; choose another`);
    }
    if (this.#saved.has(name)) throw new UserError(`name '${name}' is taken; choose another`);
    const samples = await recording.samples();
    const seconds = samples.length / SAMPLE_RATE;
    if (seconds < SHORTEST || seconds > LONGEST) {
      const length = seconds.toFixed(1);
      throw new UserError(`${recording.name}: ${length} s; an identity takes ${SHORTEST} to ${LONGEST} s of speech`);
    }
    if (this.#student.isQuiet(samples)) throw new UserError(`${recording.name}: there is no speech in it`);
    const { identity, identities } = await this.#student.recognise(samples, SAMPLE_RATE);
    this.#saved.set(name, identity);
    const [[nearest]] = Object.entries(identities).sort(([, a], [, b]) => b - a);
    return { name, seconds, nearest, notes: [] };
  }

  /** Settings with the embedding in place of a saved voice's name. */
  #options(settings) {
    return { ...settings, identity: this.#saved.get(settings.identity) ?? settings.identity };
  }
}
