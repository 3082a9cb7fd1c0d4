// Plays a recording: its sound is the clock.

export class Player {
  /** Seconds that can be played. */
  duration = 0;
  #audio;
  #parts;
  #changed;
  #url = "";

  /**
   * @param {{audio: HTMLAudioElement, play: HTMLButtonElement, scrubber: HTMLInputElement,
   *     clock: HTMLElement, speed: HTMLSelectElement}} parts
   * @param {() => void} changed the time, or whether it runs
   */
  constructor(parts, changed) {
    this.#audio = parts.audio;
    this.#parts = parts;
    this.#changed = changed;
    parts.play.addEventListener("click", () => this.toggle());
    parts.scrubber.addEventListener("input", () => this.seek(parts.scrubber.valueAsNumber));
    parts.speed.addEventListener("change", () => { this.#audio.playbackRate = Number(parts.speed.value); });
    for (const event of ["play", "pause", "seeked"]) this.#audio.addEventListener(event, changed);
  }

  /** Seconds from the beginning. */
  get time() {
    return Math.min(this.#audio.currentTime, this.duration);
  }

  get playing() {
    return !this.#audio.paused;
  }

  /** Whether the browser cannot play the sound. */
  get failed() {
    return this.#audio.error !== null;
  }

  /** @param {Blob | null} sound; null: there is none */
  load(sound) {
    URL.revokeObjectURL(this.#url);
    this.#url = sound ? URL.createObjectURL(sound) : "";
    this.duration = 0;
    if (sound) this.#audio.src = this.#url;
    else this.#audio.removeAttribute("src");
    this.#audio.load();
    this.#audio.playbackRate = Number(this.#parts.speed.value);
  }

  toggle() {
    if (this.playing) this.#audio.pause();
    else if (this.duration) this.#audio.play().catch(() => {}); // interrupted, or not allowed yet
  }

  pause() {
    this.#audio.pause();
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.#audio.currentTime = Math.min(Math.max(seconds, 0), this.duration);
    this.#changed();
  }

  /** Show the time on the controls. */
  show() {
    const { play, scrubber, clock } = this.#parts;
    play.disabled = scrubber.disabled = !this.duration;
    play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    play.dataset.playing = this.playing;
    scrubber.max = this.duration;
    scrubber.value = this.time;
    scrubber.setAttribute("aria-valuetext", `${this.time.toFixed(1)} seconds`);
    clock.textContent = `${this.time.toFixed(1)} / ${this.duration.toFixed(1)} s`;
  }

  /**
   * The keys of the page: space, and left and right by a frame, with shift by a second.
   *
   * @param {KeyboardEvent} event
   * @param {number} fps
   */
  key(event, fps) {
    const { target } = event;
    const taken = target.closest("input, select, textarea, summary, a") && target !== this.#parts.scrubber;
    if (taken || !this.duration || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && !target.closest("button")) this.toggle(); // a button is clicked by it
    else if (step) this.seek(this.time + step / (event.shiftKey ? 1 : fps));
    else return;
    event.preventDefault();
  }
}
