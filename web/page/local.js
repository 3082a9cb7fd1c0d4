// The student in this page, on onnxruntime-web: no sound leaves it.
import * as ort from "onnxruntime-web";

import { SAMPLE_RATE } from "../audio.js";
import { FPS } from "../log_mel.js";
import { Student } from "../student.js";

ort.env.wasm.numThreads = 1; // more would need a page that is isolated from other origins

/** @implements {import("./backend.js").Backend} */
export class Local {
  about = "The student runs in this page; no sound leaves it.";
  formats = [];
  savesIdentities = false;
  /** @type {Student} */
  #student;

  /** @param {string} folder address of an artifact */
  static async open(folder) {
    const local = new Local();
    local.#student = await Student.load(folder, { ort });
    local.models = [{ name: folder, steps: null, streams: local.#student.lookAhead !== null }];
    return local;
  }

  async names() {
    return { identity: this.#student.identities, emotion: this.#student.emotions };
  }

  async animate(recording, { identity, emotion, seed }) {
    const made = await this.#student.animate(await recording.samples(), SAMPLE_RATE, { identity, emotion, seed });
    return { ...made, fps: FPS };
  }

  async stream(rate, { identity, emotion, seed }, { heard, broken }) {
    const stream = this.#student.stream(rate, { identity, emotion, seed });
    const hand = (coefficients) => heard(coefficients, stream.identity, stream.emotion);
    return {
      channels: this.#student.channels,
      fps: FPS,
      lookAheadMs: stream.lookAheadMs,
      push: (samples) => { stream.push(samples).then(hand, broken); },
      pin: (choices) => stream.pin(choices),
      close: async () => hand(await stream.close()),
    };
  }
}
