// Controls of how the next animation is made: model, identity, emotion, seed, smoothing and mirroring.
import { Mix } from "./mix.js";

/** Controls that a stream cannot change once it is open. */
const FIXED = ["model", "seed", "another", "smooth", "mirror"];

export class Settings {
  #parts;
  #mixes;
  /** @type {import("./backend.js").Backend} */
  #backend;

  /**
   * @param {Record<"model" | "identity" | "identityWeights" | "emotion" | "emotionWeights" | "seed" |
   *     "another" | "smooth" | "smoothMs" | "mirror", HTMLElement>} parts
   * @param {() => void} changed
   * @param {(error: Error) => void} failed called when the names of another model cannot be had
   */
  constructor(parts, changed, failed) {
    this.#parts = parts;
    this.#mixes = {
      identity: new Mix(parts.identity, parts.identityWeights, changed),
      emotion: new Mix(parts.emotion, parts.emotionWeights, changed),
    };
    parts.model.addEventListener("change", () => this.refresh().then(changed, failed));
    for (const part of ["seed", "smooth", "mirror"]) parts[part].addEventListener("change", changed);
    parts.smooth.addEventListener("input", () => { parts.smoothMs.textContent = `${parts.smooth.value} ms`; });
    parts.another.addEventListener("click", () => {
      parts.seed.value = Math.floor(Math.random() * 10_000);
      changed();
    });
  }

  /** @param {import("./backend.js").Backend} backend */
  async offer(backend) {
    this.#backend = backend;
    const { model } = this.#parts;
    model.replaceChildren(...backend.models.map((one, i) => new Option(titled(one), i)));
    model.closest(".field").hidden = backend.models.length < 2;
    await this.refresh();
  }

  /** Ask the back end for the names again. */
  async refresh() {
    const names = await this.#backend.names(this.model);
    this.#mixes.identity.offer(names.identity, names.saved);
    this.#mixes.emotion.offer(names.emotion);
  }

  /** @param {string} name of the library, or of a saved voice */
  chooseIdentity(name) {
    this.#mixes.identity.choose(name);
  }

  /** Whether a stream is open, which keeps its model, seed and post-processing. */
  set fixed(fixed) {
    for (const part of FIXED) this.#parts[part].disabled = fixed;
  }

  get model() {
    return this.#backend.models[Number(this.#parts.model.value)];
  }

  /** @returns {{identity: import("./backend.js").Selection, emotion: import("./backend.js").Selection}} */
  get selections() {
    return { identity: this.#mixes.identity.value, emotion: this.#mixes.emotion.value };
  }

  /** @returns {import("./backend.js").Settings} */
  get value() {
    const { seed, smooth, mirror } = this.#parts;
    return {
      model: this.model,
      ...this.selections,
      seed: seed.valueAsNumber,
      smoothMs: smooth.valueAsNumber,
      mirror: mirror.checked,
    };
  }
}

function titled({ name, steps }) {
  return steps === null ? name : `${name}, ${steps} ${steps === 1 ? "step" : "steps"}`;
}
