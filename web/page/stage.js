// Where the heads are seen: which head it is, and whose face it makes.
import { MeshoptDecoder } from "three/addons/libs/meshopt_decoder.module.js";

import { CHANNELS } from "./channels.js";
import { Head } from "./head.js";
import { UserError } from "../errors.js";

const OWN = "head.glb";

export class Stage {
  /** @type {Head | null} null: the browser offers no WebGL */
  #head = null;
  #parts;

  /**
   * @param {{canvas: HTMLCanvasElement, note: HTMLElement, captions: HTMLElement, worn: HTMLElement,
   *     credit: HTMLElement}} parts
   * @param {() => void} changed the head has to be drawn anew
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

  /** Show the head that comes with the page, or say on the stage that it is not there. */
  async begin() {
    if (!this.#head) return;
    const answer = await fetch(new URL(OWN, document.baseURI)).catch(() => null);
    if (answer?.ok) {
      await this.wear(await answer.blob(), OWN);
      this.#parts.credit.hidden = false;
    } else {
      this.#parts.note.textContent = `There is no ${OWN} beside this page: drop a head of your own (.glb).`;
    }
  }

  /**
   * @param {Blob} file
   * @param {string} name
   * @throws {UserError} it is not a head
   */
  async wear(file, name) {
    if (!this.#head) throw new UserError(`${name}: this browser offers no WebGL, which a head needs`);
    const known = await this.#head.load(file, name, CHANNELS);
    this.#parts.note.textContent = "";
    this.#parts.credit.hidden = true;
    this.#parts.worn.textContent = `${name}: ${known.length} of ${CHANNELS.length} blendshapes`;
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

  /** The influence of a morph target as it was drawn last; 0 where there is no head. */
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
