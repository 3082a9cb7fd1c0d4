// The 52 ARKit channels by region, and the check boxes that select which have a curve.

const SIDES = ["Left", "Right"];
const both = (...names) => names.flatMap((name) => SIDES.map((side) => name + side));

/** Region to the names in it. */
export const REGIONS = {
  Jaw: ["jawOpen", "jawForward", "jawLeft", "jawRight", "tongueOut"],
  Mouth: [
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper",
    ...both("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthPress", "mouthLowerDown", "mouthUpperUp"),
  ],
  Brows: ["browInnerUp", ...both("browDown", "browOuterUp")],
  Eyes: both("eyeBlink", "eyeWide", "eyeSquint", "eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut"),
  "Cheeks and nose": ["cheekPuff", ...both("cheekSquint", "noseSneer")],
};
/** All of them. */
export const CHANNELS = Object.values(REGIONS).flat();
const SIX = ["jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft"];

/** A check box for each channel. */
export class Channels {
  #root;

  /**
   * @param {HTMLElement} root
   * @param {() => void} changed
   */
  constructor(root, changed) {
    this.#root = root;
    root.append(...Object.entries(REGIONS).map(([region, names]) => {
      const group = document.createElement("fieldset");
      const legend = Object.assign(document.createElement("legend"), { textContent: region });
      group.append(legend, ...names.map(box));
      return group;
    }));
    root.addEventListener("change", changed);
  }

  /** @returns {string[]} those that are checked */
  get shown() {
    return [...this.#root.querySelectorAll("input:checked")].map((input) => input.value);
  }
}

function box(name) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "checkbox", value: name, checked: SIX.includes(name) });
  label.append(input, name);
  return label;
}
