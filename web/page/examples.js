// Recordings that come with the page: a button for each.
import { UserError } from "../errors.js";
import { Recording } from "./recording.js";

const FOLDER = new URL("../examples/", import.meta.url);

/** @typedef {{file: string, label: string, text: string}} Example an entry of `examples.json` */

/**
 * Append the buttons; without the list the group is hidden.
 *
 * @param {HTMLElement} group
 * @param {(example: Example) => void} chosen
 */
export async function offer(group, chosen) {
  const answer = await fetch(new URL("examples.json", FOLDER)).catch(() => null);
  /** @type {Example[]} */
  const listed = answer?.ok ? await answer.json().catch(() => []) : [];
  group.hidden = listed.length === 0;
  for (const example of listed) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: example.label, title: example.text });
    button.addEventListener("click", () => chosen(example));
    button.addEventListener("mousedown", (event) => event.preventDefault()); // no focus: space pauses
    group.append(button);
  }
}

/**
 * @param {Example} example
 * @returns {Promise<Recording>}
 * @throws {UserError} it is not beside the page
 */
export async function load({ file }) {
  const answer = await fetch(new URL(file, FOLDER)).catch(() => null);
  if (!answer?.ok) throw new UserError(`${file}: cannot be loaded; is its folder beside this page, in examples/?`);
  return new Recording(await answer.blob(), file);
}
