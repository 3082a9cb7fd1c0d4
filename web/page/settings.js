// How the next face is made: model, identity, emotion and seed.
import { Mix } from "./mix.js";

export class Settings {
  #parts;
  #mixes;
  /** @type {import("./backend.js").Backend} */
  #backend;

  /**
   * @param {Record<"model" | "identity" | "identityWeights" | "emotion" | "emotionWeights" | "seed" |
   *     "another", HTMLElement>} parts
   * @param {() => void} changed
   * @param {(error: Error) => void} failed the names of another model are not to be had
   */
  constructor(parts, changed, failed) {
    this.#parts = parts;
    this.#mixes = {
      identity: new Mix(parts.identity, parts.identityWeights, changed),
      emotion: new Mix(parts.emotion, parts.emotionWeights, changed),
    };
    parts.model.addEventListener("change", () => this.refresh().then(changed, failed));
    parts.seed.addEventListener("change", changed);
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

  /** Ask for the names anew. */
  async refresh() {
    const names = await this.#backend.names(this.model);
    this.#mixes.identity.offer(names.identity, names.saved);
    this.#mixes.emotion.offer(names.emotion);
  }

  /** @param {string} name of the library, or one that was saved */
  chooseIdentity(name) {
    this.#mixes.identity.choose(name);
  }

  /** Whether a stream is going on, which keeps its model and seed. */
  set fixed(fixed) {
    for (const part of ["model", "seed", "another"]) this.#parts[part].disabled = fixed;
  }

  get model() {
    return this.#backend.models[Number(this.#parts.model.value)];
  }

  /** @returns {{identity: import("./backend.js").Choice, emotion: import("./backend.js").Choice}} */
  get choices() {
    return { identity: this.#mixes.identity.value, emotion: this.#mixes.emotion.value };
  }

  /** @returns {import("./backend.js").Settings} */
  get value() {
    return { model: this.model, ...this.choices, seed: this.#parts.seed.valueAsNumber };
  }
}

function titled({ name, steps }) {
  return steps === null ? name : `${name}, ${steps} ${steps === 1 ? "step" : "steps"}`;
}
