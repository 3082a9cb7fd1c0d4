// Selection of identity or emotion: "auto", a name, or a blend with a slider of weight for each name.

const BLEND = "blend …";

export class Mix {
  #select;
  #sliders;
  #changed;
  #offered = "";

  /**
   * @param {HTMLSelectElement} select
   * @param {HTMLElement} sliders where those of a blend go
   * @param {() => void} changed
   */
  constructor(select, sliders, changed) {
    this.#select = select;
    this.#sliders = sliders;
    this.#changed = changed;
    select.addEventListener("change", () => this.#chosen());
  }

  /** @returns {import("./backend.js").Selection} */
  get value() {
    if (!this.#blends) return this.#select.value;
    const weights = this.#inputs.map((input) => [input.name, input.valueAsNumber]);
    const some = weights.filter(([, weight]) => weight > 0);
    return Object.fromEntries(some.length ? some : weights);
  }

  /**
   * @param {string[]} library names to choose from, or to blend; the selection stays where its name is there
   * @param {string[]} saved names that are not blended
   */
  offer(library, saved = []) {
    const before = this.#select.value;
    const names = [...library, ...saved];
    if (names.join() === this.#offered) return; // a blend keeps its weights
    this.#offered = names.join();
    const options = ["auto", ...names].map((name) => new Option(name, name));
    if (library.length > 1) options.push(new Option(BLEND, BLEND));
    this.#select.replaceChildren(...options);
    this.#select.value = names.includes(before) ? before : "auto";
    this.#sliders.hidden = true;
    this.#sliders.replaceChildren(...library.map((name) => this.#slider(name)));
  }

  /** @param {string} name */
  choose(name) {
    this.#select.value = name;
    this.#sliders.hidden = true;
    this.#changed();
  }

  get #blends() {
    return this.#select.value === BLEND;
  }

  get #inputs() {
    return [...this.#sliders.querySelectorAll("input")];
  }

  #chosen() {
    if (this.#blends) {
      const [some] = this.#inputs;
      if (this.#inputs.every((input) => input.valueAsNumber === 0)) some.value = 1;
      this.#share();
    } else {
      for (const input of this.#inputs) input.value = Number(input.name === this.#select.value); // where a blend begins
    }
    this.#sliders.hidden = !this.#blends;
    this.#changed();
  }

  #slider(name) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "range", name, min: 0, max: 1, step: 0.05, value: 0 });
    const text = Object.assign(document.createElement("span"), { textContent: name });
    label.append(text, input, document.createElement("output"));
    input.addEventListener("input", () => this.#share());
    input.addEventListener("change", () => this.#changed());
    return label;
  }

  /** Show the share of each slider in the sum of weights. */
  #share() {
    const total = this.#inputs.reduce((sum, input) => sum + input.valueAsNumber, 0) || 1;
    for (const input of this.#inputs) {
      input.nextSibling.textContent = `${Math.round((100 * input.valueAsNumber) / total)} %`;
    }
  }
}
