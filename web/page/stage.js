// The canvas with its captions: loads the head and draws one or two takes.
import { MeshoptDecoder } from "three/addons/libs/meshopt_decoder.module.js";

import { CHANNELS } from "./channels.js";
import { Head } from "./head.js";
import { UserError } from "../errors.js";

const DEFAULT = "head.glb";

export class Stage {
  /** @type {Head | null} null: the browser offers no WebGL */
  #head = null;
  #parts;

  /**
   * @param {{canvas: HTMLCanvasElement, note: HTMLElement, captions: HTMLElement, headName: HTMLElement,
   *     credit: HTMLElement}} parts
   * @param {() => void} changed called when the head has to be drawn again
   */
  constructor(parts, changed) {
    this.#parts = parts;
    try {
      this.#head = new Head(parts.canvas, changed, MeshoptDecoder);
    } catch {
      parts.note.textContent =
        "This browser offers no WebGL, so no head is shown. Curves, sound and files work without it.";
    }
  }

  /** Load the head that comes with the page; where it is missing the stage shows a note. */
  async loadDefault() {
    if (!this.#head) return;
    const answer = await fetch(new URL(DEFAULT, document.baseURI)).catch(() => null);
    if (answer?.ok) {
      await this.load(await answer.blob(), DEFAULT);
      this.#parts.credit.hidden = false;
    } else {
      this.#parts.note.textContent = `There is no ${DEFAULT} beside this page: drop a head of your own (.glb).`;
    }
  }

  /**
   * @param {Blob} file
   * @param {string} name
   * @throws {UserError} it is not a head
   */
  async load(file, name) {
    if (!this.#head) throw new UserError(`${name}: this browser offers no WebGL, which a head needs`);
    const known = await this.#head.load(file, name, CHANNELS);
    this.#parts.note.textContent = "";
    this.#parts.credit.hidden = true;
    this.#parts.headName.textContent = `${name}: ${known.length} of ${CHANNELS.length} blendshapes`;
  }

  /**
   * @param {{face: import("./face.js").Face, caption: string, mark: string}[]} shown one, or two side by
   *     side; the mark is A or B, or nothing
   * @param {number} time seconds
   */
  draw(shown, time) {
    this.#caption(shown.map(({ mark, caption }) => [mark, mark ? `${mark} · ${caption}` : caption]));
    if (!this.#head?.loaded) return;
    const faces = shown.map(({ face }) => ({ channels: face.channels, weights: face.at(time) }));
    this.#head.draw(faces.length ? faces : [{ channels: CHANNELS, weights: new Float32Array(CHANNELS.length) }]);
  }

  /** The influence of a morph target in the last drawn frame; 0 without a head. */
  influence(channel) {
    return this.#head?.loaded ? this.#head.influence(channel) : 0;
  }

  #caption(words) {
    const { captions } = this.#parts;
    while (captions.children.length > words.length) captions.lastChild.remove();
    while (captions.children.length < words.length) captions.append(document.createElement("span"));
    words.forEach(([mark, text], i) => {
      captions.children[i].dataset.mark = mark;
      if (captions.children[i].textContent !== text) captions.children[i].textContent = text;
    });
  }
}
